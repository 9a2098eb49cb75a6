// Draws the figures of the page and lets commands be copied. Plotly stands above in this script.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");

  // Without a pointer that hovers, a swipe across a plot must scroll the page.
  const touch = matchMedia("(hover: none)").matches;

  const config = {
    responsive: true,
    displaylogo: false,
    // Nothing leaves the page: without these, Plotly offers to send the plot to its makers' server.
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
    // SVG, because the page's policy allows images from data only, and PNG would go through a blob.
    toImageButtonOptions: { format: "svg" },
  };

  const look = () => {
    const axis = {
      automargin: true, gridcolor: "var(--line)", linecolor: "var(--faint)", showline: true,
      tickcolor: "var(--faint)", ticks: "outside", ticklen: 4, zeroline: false,
      tickangle: 0, title: { standoff: 8 },
    };
    return {
      autosize: true,
      dragmode: touch ? false : "zoom",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "var(--ink)" },
      hoverlabel: { align: "left", bgcolor: "var(--surface)", bordercolor: "var(--faint)", font: { color: "var(--ink)", size: 12 } },
      hovermode: "closest",
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      margin: { l: 56, r: 16, t: 24, b: 44 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--faint)", activecolor: "var(--accent)" },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      showlegend: false,
      template: { layout: { xaxis: axis, yaxis: axis } },
    };
  };

  // Colours are names from the style sheet, under keys that speak of colour; texts stay as they are.
  const coloured = (value, key, style) => {
    if (typeof value === "string") {
      const name = /color/.test(key) && /^var\((--[a-z-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => coloured(item, key, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, k, style)]));
  };

  const draw = (plot, width) => {
    const figure = JSON.parse(plot.querySelector("script").textContent);
    const layout = { ...look(), ...figure.layout };
    if (width) Object.assign(layout, { width, autosize: false });
    const style = getComputedStyle(root);
    const canvas = plot.querySelector(".canvas");
    const bare = touch || plot.closest(".multiples") !== null;
    const settings = { ...config, displayModeBar: bare ? false : "hover" };
    Plotly.react(canvas, coloured(figure.data, "", style), coloured(layout, "", style), settings);
    plot.drawn = true;
  };

  // Plots are drawn when they come near the window: a page of many opens at once.
  const plots = [...document.querySelectorAll(".plot")];
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !target.drawn) draw(target);
    }
  }, { rootMargin: "600px" });
  for (const plot of plots) near.observe(plot);

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of plots) if (plot.drawn) draw(plot);
  });

  // Paper is light, and narrower than most windows.
  addEventListener("beforeprint", () => {
    root.classList.add("printing");
    for (const plot of plots) draw(plot, plot.closest(".multiples, .pair") ? 320 : 660);
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    for (const plot of plots) draw(plot);
  });

  const copy = async (code, button) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // Without the clipboard (some browsers refuse it to files) the text is left selected.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  for (const block of document.querySelectorAll(".command")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", () => copy(block.querySelector("code"), button));
    block.append(button);
  }
})();
