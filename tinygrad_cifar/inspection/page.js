"use strict";
(() => {
  const { steps, seen, done } = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const boxes = [...document.querySelectorAll("[data-box]")];
  const arrows = [...document.querySelectorAll("[data-arrow]")].map((element) => ({
    element,
    ends: element.dataset.arrow.split(" ").map(Number),
  }));
  let current = 0;

  const make = (name, text, ...children) => {
    const element = document.createElement(name);
    if (text !== undefined && text !== null) element.textContent = text;
    element.append(...children);
    return element;
  };

  const showArray = ({ name, shape, cells, text }) => {
    const caption = make("figcaption", name + " ", make("span", shape));
    const figure = make("figure", null, caption);
    if (cells) {
      const rows = cells.map((row) => make("tr", null, ...row.map((cell) => make("td", cell))));
      figure.append(make("table", null, make("tbody", null, ...rows)));
    } else {
      const line = make("div", text);
      line.className = "text";
      figure.append(line);
    }
    return figure;
  };

  const size = (bytes) =>
    bytes < 1000
      ? `${bytes} bytes`
      : bytes < 999.5e3
        ? `${(bytes / 1e3).toPrecision(3)} kB`
        : bytes < 999.5e6
          ? `${(bytes / 1e6).toPrecision(3)} MB`
          : `${Number((bytes / 1e9).toPrecision(3))} GB`;

  const scrollTo = (box) => {
    const frame = byId("picture");
    const [outer, inner] = [frame.getBoundingClientRect(), box.getBoundingClientRect()];
    frame.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
    frame.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
  };

  const show = (wanted) => {
    current = Math.max(0, Math.min(steps.length - 1, wanted));
    const step = steps[current];
    document.body.className = step.phase;
    const list = make("dl");
    for (const [term, text] of step.rows) list.append(make("dt", term), make("dd", text));
    byId("step").replaceChildren(
      make("p", `Step ${current} of ${steps.length - 1}`),
      make("h2", step.title),
      list,
      ...step.arrays.map(showArray),
    );
    boxes.forEach((box, i) => {
      box.classList.toggle("now", step.now.includes(i));
      box.classList.toggle("seen", current >= seen[i]);
      box.classList.toggle("done", current >= done[i]);
    });
    for (const { element, ends } of arrows) {
      const isDashed = element.querySelector(".c") !== null;
      element.classList.toggle("active", step.now.includes(ends[1]) && !(step.phase === "backward" && isDashed));
    }
    scrollTo(boxes[step.now.length ? step.now[0] : 0]);
    byId("level").textContent = size(step.level[0] + step.level[1]);
    byId("now").setAttribute("x", current);
    byId("slider").value = current;
    byId("slider").setAttribute("aria-valuetext", `Step ${current}: ${step.title}`);
    byId("first").disabled = byId("back").disabled = current === 0;
    byId("next").disabled = byId("last").disabled = current === steps.length - 1;
    history.replaceState(null, "", `#${current}`);
  };

  const moves = {
    ArrowRight: () => current + 1,
    ArrowLeft: () => current - 1,
    " ": () => current + 1,
    Home: () => 0,
    End: () => steps.length - 1,
  };
  document.addEventListener("keydown", (event) => {
    const isOnButton = event.target.tagName === "BUTTON" && event.key === " ";
    if (!(event.key in moves) || isOnButton || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show(moves[event.key]());
  });
  byId("first").addEventListener("click", () => show(0));
  byId("back").addEventListener("click", () => show(current - 1));
  byId("next").addEventListener("click", () => show(current + 1));
  byId("last").addEventListener("click", () => show(steps.length - 1));
  byId("slider").addEventListener("input", (event) => show(Number(event.target.value)));
  window.addEventListener("hashchange", () => show(Number(location.hash.slice(1)) || 0));
  show(Number(location.hash.slice(1)) || 0);
})();
