"use strict";

// Shows openapi.json, and asks what it describes. Whatever comes from there or from answers is set
// as text, never as markup: models and labels may be called anything.

const base = new URL(".", document.baseURI);
const methods = ["get", "post", "put", "delete"];
const editors = [];
let api = {};
// What labels name rows by: the document's example, and then the last answer's.
let predictionId = null;

/** An element with attributes, of which `on…` are listeners, and children, which are nodes or texts. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** The text with its `code` set off. */
function prose(text) {
  const parts = text.split(/(`+)([^]*?[^`])\1(?!`)/);
  return parts.flatMap((part, at) => {
    if (at % 3 === 1) return [];
    return [at % 3 === 2 ? make("code", {}, part.replace(/^ (.*`.*) $/, "$1")) : part];
  });
}

const paragraphs = (text) =>
  (text ? text.split("\n\n") : []).map((part) => make("p", {}, ...prose(part)));

const resolve = (part) =>
  part?.$ref
    ? part.$ref.slice(2).split("/").reduce((found, key) => found?.[key], api)
    : part;

// ---- Schemas, in the manner of TypeScript ----

/** Lines of `schema` and of the named ones that it uses. */
function schemaText(schema) {
  const used = [];
  const lines = [written(resolve(schema), "", used)];
  for (let at = 0; at < used.length; at += 1) {
    const named = api.components.schemas[used[at]];
    lines.push(`${used[at]} = ${written(named, "", used)}`);
  }
  return lines.join("\n\n");
}

function written(schema, indent, used) {
  if (schema === true || schema == null) return "anything";
  if (schema === false) return "nothing";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    if (!used.includes(name)) used.push(name);
    return name;
  }
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map((choice) => written(choice, indent, used)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `${inParentheses(written(schema.items, indent, used))}[]`;
  if (schema.type === "object") return writtenObject(schema, indent, used);
  return schema.type ?? "anything";
}

const inParentheses = (text) => (/ \| /.test(text) && !/^\{[^]*\}$/.test(text) ? `(${text})` : text);

function writtenObject(schema, indent, used) {
  const inner = `${indent}  `;
  const members = Object.entries(schema.properties ?? {}).filter(([, value]) => value !== false);
  const lines = members.map(([name, value]) => {
    const mark = schema.required?.includes(name) ? "" : "?";
    const key = /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
    const note = noted(value);
    return `${inner}${key}${mark}: ${written(value, inner, used)}${note ? `  // ${note}` : ""}`;
  });
  const others = schema.additionalProperties;
  if (others && others !== true) lines.push(`${inner}[name]: ${written(others, inner, used)}`);
  if (lines.length === 0) return "object";
  const only = lines[0].trim();
  if (lines.length === 1 && !/\n|\/\//.test(only)) return `{ ${only} }`;
  return `{\n${lines.join("\n")}\n${indent}}`;
}

/** What the type does not say. */
function noted(schema) {
  const notes = [];
  const { minItems, maxItems, minimum, maximum } = schema;
  if (minItems != null && minItems === maxItems) notes.push(`${minItems} items`);
  else if (minItems != null || maxItems != null) notes.push(range(minItems ?? 0, maxItems, "items"));
  if (minimum != null) notes.push(range(minimum, maximum, ""));
  if (schema.pattern) notes.push(schema.pattern);
  if (schema.description) notes.push(schema.description);
  return notes.join("; ");
}

const range = (low, high, what) =>
  (high == null ? `from ${low} ${what}` : `${low} to ${high} ${what}`).trim();

/** The text with its notes set off. */
function schemaBlock(schema) {
  const block = make("pre", { class: "wrap" });
  for (const line of schemaText(schema).split("\n")) {
    const [, code, note] = /^(.*?)(  \/\/ .*)?$/.exec(line);
    block.append(code, note ? make("span", { class: "note" }, note) : "", "\n");
  }
  return block;
}

// ---- Operations ----

function operationCard({ path, method, operation }, isOpen) {
  const card = make(
    "details",
    { class: "operation", id: anchor(operation) },
    make(
      "summary",
      {},
      methodChip(method),
      make("span", { class: "path" }, shown(path)),
      make("span", { class: "title" }, operation.summary),
    ),
  );
  // Filled when it is first opened: a server may have many.
  card.addEventListener("toggle", () => {
    if (card.open && card.children.length === 1) {
      card.append(make("div", { class: "body" }, facts(operation), asking(path, method, operation)));
    }
  });
  card.open = isOpen;
  return card;
}

const anchor = (operation) => encodeURIComponent(operation.operationId);
const methodChip = (method) => make("span", { class: `method ${method}` }, method.toUpperCase());

/** A path as it reads; as it is where it cannot be decoded. */
function shown(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function facts(operation) {
  const request = contentOf(operation.requestBody);
  const answers = Object.entries(operation.responses).map(([status, part]) => [
    status,
    resolve(part),
  ]);
  const answered = answers.filter(([, answer]) => contentOf(answer)?.[1].schema?.type !== "string");
  const isError = ([status]) => status >= "400";
  const good = answered.find((answer) => !isError(answer));
  const schemaOf = (part) => contentOf(part)?.[1].schema;
  return make(
    "div",
    { class: "facts" },
    ...paragraphs(operation.description),
    ...(request ? [make("h3", {}, "Request"), schemaBlock(request[1].schema)] : []),
    ...(good && schemaOf(good[1]) ? [make("h3", {}, "Answer"), schemaBlock(schemaOf(good[1]))] : []),
    make("h3", {}, "Statuses"),
    make("dl", { class: "statuses" }, ...answers.flatMap(statusRow)),
  );
}

/** Media type and description of a body, where there is one. */
const contentOf = (part) => Object.entries(part?.content ?? {})[0];

function statusRow([status, answer]) {
  const types = Object.keys(answer.content ?? {}).filter((type) => type !== "application/json");
  const headers = Object.keys(answer.headers ?? {}).filter((name) => name !== "x-request-id");
  const errors = Object.values(contentOf(answer)?.[1].examples ?? {})
    .map((example) => example.value?.error)
    .filter((text) => typeof text === "string");
  const names = [...types, ...headers].map((name) => make("code", {}, name));
  return [
    make("dt", { class: `status ${status < "400" ? "good" : "bad"}` }, status),
    make(
      "dd",
      {},
      answer.description,
      make("ul", {}, ...[...names, ...errors].map((item) => make("li", {}, item))),
    ),
  ];
}

// ---- Asking ----

function asking(path, method, operation) {
  const fields = (operation.parameters ?? []).filter((parameter) => parameter.in === "path");
  const examples = Object.entries(contentOf(operation.requestBody)?.[1].examples ?? {});
  const values = new Map(fields.map((field) => [field.name, String(field.example ?? "")]));
  const line = make("pre", { class: "wrap" });
  const editor = examples.length ? make("textarea", { spellcheck: "false", rows: "5" }) : null;
  const result = make("div", { "aria-live": "polite" });
  const took = make("span", { class: "took" });
  const url = () => {
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values.get(name)));
    return new URL(filled.slice(1), base).href;
  };
  const show = () => (line.textContent = curl(method, url(), editor?.value));
  if (editor) {
    const setTo = (name) => (editor.value = bodyText(examples.find(([key]) => key === name)[1].value));
    setTo(examples[0][0]);
    editor.addEventListener("input", show);
    editors.push({ editor, show });
    editor.pick = (name) => (setTo(name), show());
  }
  const send = async () => {
    button.disabled = true;
    await ask(method, url(), editor?.value, result, took);
    button.disabled = false;
  };
  const button = make("button", { class: "send", type: "button", onclick: send }, "Send");
  show();
  const copy = make("button", { type: "button", onclick: () => copied(line, copy) }, "Copy");
  return make(
    "div",
    { class: "side" },
    make("h3", {}, "Try it"),
    ...fields.map((field) =>
      choice(field.name, field.schema.enum ?? [field.example], (value) => (values.set(field.name, value), show())),
    ),
    examples.length > 1 ? choice("example", examples.map(([name]) => name), editor.pick) : null,
    editor ? make("label", {}, "body", editor) : null,
    make("div", { class: "actions" }, button, took),
    result,
    make("h3", {}, "From a terminal"),
    make("div", { class: "curl" }, line, copy),
  );
}

function choice(name, options, pick) {
  const select = make("select", {}, ...options.map((value) => make("option", {}, String(value))));
  select.addEventListener("change", () => pick(select.value));
  return make("label", {}, name, select);
}

/** A body as it is edited: the last prediction's id in the place of the example's. */
function bodyText(value) {
  const text = indented(JSON.stringify(value));
  return text.replace(/"id": "[0-9a-f]{32}"/g, (found) => (predictionId ? `"id": "${predictionId}"` : found));
}

async function ask(method, url, body, result, took) {
  const headers = body == null ? {} : { "content-type": "application/json" };
  const started = performance.now();
  try {
    const answer = await fetch(url, { method: method.toUpperCase(), headers, body });
    const text = await answer.text();
    took.textContent = `${(performance.now() - started).toFixed(1)} ms, from here`;
    const rows = [...answer.headers].map(([name, value]) =>
      make("tr", {}, make("td", {}, name), make("td", {}, value)),
    );
    const status = `${answer.status} ${answer.statusText}`;
    result.replaceChildren(
      make("p", { class: `status ${answer.ok ? "good" : "bad"}` }, status),
      make("table", {}, make("tbody", {}, ...rows)),
      make("pre", { class: "wrap" }, isJson(answer) ? indented(text) : text),
    );
    remember(answer.headers.get("x-prediction-id"));
  } catch (error) {
    took.textContent = "";
    result.replaceChildren(make("p", { class: "status bad" }, `No answer: ${error.message}`));
  }
}

const isJson = (answer) => answer.headers.get("content-type")?.startsWith("application/json");

/** Puts the id of an answer where labels are sent. */
function remember(id) {
  if (!id) return;
  for (const { editor, show } of editors) {
    editor.value = editor.value.replace(/"id": "[0-9a-f]{32}"/g, `"id": "${id}"`);
    show();
  }
  predictionId = id;
}

/** JSON on lines of its own where it is long; numbers stay as they were written. */
function indented(json) {
  if (json.length <= 72) return spaced(json);
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return tokens(json)
    .map((token, at, all) => {
      if (token === "," || token === ":") return token === "," ? `,${line()}` : ": ";
      if (token === "{" || token === "[") {
        if (all[at + 1] === "}" || all[at + 1] === "]") return token;
        depth += 1;
        return token + line();
      }
      if (token === "}" || token === "]") {
        if (all[at - 1] === "{" || all[at - 1] === "[") return token;
        depth -= 1;
        return line() + token;
      }
      return token;
    })
    .join("");
}

const spaced = (json) =>
  tokens(json).map((token) => (token === "," || token === ":" ? `${token} ` : token)).join("");

const tokens = (json) => json.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];

/** The request as a command of a POSIX shell. */
function curl(method, url, body) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const json = "-H 'content-type: application/json'";
  const data = body == null ? "" : ` \\\n  ${json} \\\n  --data-raw ${quoted(body)}`;
  return `curl -i ${quoted(url)}${data}`;
}

async function copied(line, button) {
  try {
    await navigator.clipboard.writeText(line.textContent);
    button.textContent = "Copied";
  } catch {
    // Browsers allow it over HTTPS and on this machine only.
    getSelection().selectAllChildren(line);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

// ---- The page ----

function showDocument() {
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    methods
      .filter((method) => item[method])
      .map((method) => ({ path, method, operation: item[method] })),
  );
  const { info, tags } = api;
  const wanted = decodeURIComponent(location.hash.slice(1));
  document.title = `${info.title} ${info.version}`;
  const groups = tags.map((tag) => ({
    tag,
    members: operations.filter(({ operation }) => operation.tags.includes(tag.name)),
  }));
  document.getElementById("main").replaceChildren(
    make("h1", {}, info.title, make("span", { class: "release" }, info.version)),
    make("p", { class: "lead" }, info.summary, " ", make("a", { href: "openapi.json" }, "openapi.json")),
    ...paragraphs(info.description),
    ...groups.flatMap(({ tag, members }) => [
      make("h2", {}, tag.name),
      ...paragraphs(tag.description),
      ...members.map((member) => {
        const id = member.operation.operationId;
        return operationCard(member, wanted ? id === wanted : member === operations[0]);
      }),
    ]),
  );
  document.getElementById("nav").replaceChildren(jump(groups), ...groups.flatMap(listed));
  open();
}

const listed = ({ tag, members }) => [
  make("h3", {}, tag.name),
  ...members.map(({ path, method, operation }) =>
    make(
      "a",
      { href: `#${anchor(operation)}`, title: operation.summary },
      methodChip(method),
      make("span", { class: "path" }, shown(path).replace(/^\/v1\/models\/[^:/]+(?=[:/])/, "…")),
    ),
  ),
];

/** The list where there is no room beside. */
function jump(groups) {
  const options = groups.map(({ tag, members }) =>
    make(
      "optgroup",
      { label: tag.name },
      ...members.map(({ path, method, operation }) =>
        make("option", { value: anchor(operation) }, `${method.toUpperCase()} ${shown(path)}`),
      ),
    ),
  );
  const select = make("select", { class: "jump", "aria-label": "Go to" }, make("option", { value: "" }, "Go to …"), ...options);
  select.addEventListener("change", () => (location.hash = select.value));
  return select;
}

/** Opens what the address names. */
function open() {
  const card = document.getElementById(location.hash.slice(1));
  if (card) {
    card.open = true;
    card.scrollIntoView();
  }
}

async function start() {
  try {
    const answer = await fetch(new URL("openapi.json", base));
    api = await answer.json();
    showDocument();
    addEventListener("hashchange", open);
  } catch (error) {
    document.getElementById("wait").textContent = `openapi.json cannot be shown: ${error.message}`;
  }
}

start();
