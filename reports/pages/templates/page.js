// Hovering a mark shows its title at once; on a curve, the values at the nearest point too.
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  document.body.append(tip);
  const titles = new Map();
  document.querySelectorAll("figure g > title").forEach(t => { titles.set(t.parentNode, t.textContent); t.remove(); });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
  const unfold = () => { const at = location.hash && document.getElementById(location.hash.slice(1)), box = at && at.closest("details"); if (box) { box.open = true; at.scrollIntoView(); } };
  addEventListener("hashchange", unfold);
  unfold();
  let hot = null;
  const scale = (text, part) => { const [low, high] = text.split(" ").map(Number); return low + part * (high - low); };
  function words(mark, event) {
    const line = mark.querySelector("polyline"), box = mark.closest("svg[data-x]");
    if (!line || !box || mark.dataset.curve === undefined) return titles.get(mark);
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(line.getScreenCTM().inverse()).x;
    const near = [...line.points].reduce((a, b) => Math.abs(b.x - at) < Math.abs(a.x - at) ? b : a);
    const view = box.viewBox.baseVal, [across, up] = box.dataset.names.split("|");
    const x = scale(box.dataset.x, (near.x - view.x) / view.width);
    const y = scale(box.dataset.y, 1 - (near.y - view.y) / view.height);
    const value = up.endsWith("%") ? `${y.toFixed(1)} %` : `${up} ${y.toPrecision(3)}`;
    return `${titles.get(mark)}: ${value} at ${across} ${Math.round(x).toLocaleString("en")}`;
  }
  document.addEventListener("pointermove", event => {
    let mark = event.target.closest && event.target.closest("g");
    while (mark && !titles.has(mark)) mark = mark.parentNode.closest && mark.parentNode.closest("g");
    if (hot !== mark) { hot && hot.classList.remove("hot"); hot = mark; hot && hot.classList.add("hot"); }
    tip.style.opacity = mark ? 1 : 0;
    if (!mark) return;
    tip.textContent = words(mark, event);
    const right = event.clientX + 14 + tip.offsetWidth > innerWidth;
    tip.style.left = `${Math.max(4, event.clientX + (right ? -14 - tip.offsetWidth : 14))}px`;
    tip.style.top = `${Math.max(4, event.clientY - 12 - tip.offsetHeight)}px`;
  });
})();
