// One slide at a time: arrow keys, space, or a click; n shows the speaker notes. The address keeps the place.
const slides = [...document.querySelectorAll("section")];
let now = 0;

function show(next) {
  now = Math.max(0, Math.min(slides.length - 1, next));
  slides.forEach((slide, i) => slide.classList.toggle("now", i === now));
  document.getElementById("place").textContent = `${now + 1} / ${slides.length}`;
  location.replace(`#${now + 1}`);
  slides[now].focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const by = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 }[event.key];
  if (by) { event.preventDefault(); show(now + by); }
  if (event.key === "Home") show(0);
  if (event.key === "End") show(slides.length - 1);
  if (event.key === "n") document.body.classList.toggle("notes");
});
document.querySelector("main").addEventListener("click", () => show(now + 1));
show((parseInt(location.hash.slice(1), 10) || 1) - 1);
