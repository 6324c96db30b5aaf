// Draws the plots from the JSON blocks beside them, in the colours of the reader's colour scheme.
(() => {
  "use strict";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Without a mouse a drag scrolls the page, and nothing covers the legend.
  const mouse = window.matchMedia("(hover: hover)").matches;
  const config = {
    responsive: true, displaylogo: false, displayModeBar: mouse ? "hover" : false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };

  function themed(spec) {
    const text = colour("--text"), grid = colour("--line"), ground = colour("--card");
    const layout = spec.layout;
    Object.assign(layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: text },
      hoverlabel: { bgcolor: ground, bordercolor: grid, font: { color: text } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: text },
    });
    layout.dragmode = mouse ? "zoom" : false;
    layout.legend = Object.assign({ bgcolor: "rgba(0,0,0,0)" }, layout.legend);
    const flat = spec.data.every((trace) => trace.type === "heatmap");
    for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
      Object.assign(layout[key], {
        gridcolor: grid, linecolor: grid, tickcolor: grid, zerolinecolor: grid, zeroline: false, showgrid: !flat && layout[key].type !== "category",
      });
    }
    for (const trace of spec.data) {
      if (trace.type !== "heatmap") continue;
      const high = colour(trace.texttemplate ? "--heat-behind-text" : "--heat-high");
      trace.colorscale = [[0, colour("--heat-low")], [1, high]];
      trace.textfont = { color: text };
    }
    return spec;
  }

  function draw(figure) {
    const plot = figure.querySelector(".plot");
    if (plot.closest("details:not([open])")) return; // drawn when the block is opened
    const select = figure.querySelector("select");
    const blocks = figure.querySelectorAll("script.plot-data");
    const spec = themed(JSON.parse(blocks[select ? select.selectedIndex : 0].textContent));
    if (plot.clientWidth < 420) spec.layout.height += 70; // the legend needs more lines
    plot.style.minHeight = `${spec.layout.height}px`;
    Plotly.react(plot, spec.data, spec.layout, config);
    plot.dataset.drawn = "yes";
  }

  const figures = [...document.querySelectorAll("figure")].filter((figure) => figure.querySelector(".plot"));
  const drawMissing = () => figures.filter((f) => !f.querySelector(".plot").dataset.drawn).forEach(draw);
  figures.forEach((figure) => figure.querySelector("select")?.addEventListener("change", () => draw(figure)));
  document.addEventListener("toggle", drawMissing, true);
  dark.addEventListener("change", () => figures.forEach(draw));
  drawMissing();
})();
