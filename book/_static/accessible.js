// Names for what the theme leaves without one, or names otherwise than a reader sees it; and the way from a figure to its code.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll("summary")) {
    if (summary.textContent.trim()) summary.removeAttribute("aria-label");
    else summary.setAttribute("aria-label", "Show or hide the pages below");
  }
  for (const side of document.querySelectorAll(".bd-sidebar-primary")) {
    side.setAttribute("role", "region");
    side.setAttribute("aria-label", "Book");
  }
  const heard = new Map();
  for (const table of document.querySelectorAll(".table-scroll[aria-label]")) {
    const name = table.getAttribute("aria-label"), times = (heard.get(name) ?? 0) + 1;
    heard.set(name, times);
    if (times > 1) table.setAttribute("aria-label", `${name} (${times})`);
  }
  // Most browsers open a fold for a link into it; the others need to be told.
  for (const link of document.querySelectorAll("figcaption a.code")) {
    link.addEventListener("click", () => { document.getElementById(link.hash.slice(1)).closest("details").open = true; });
  }
  for (const entry of document.querySelectorAll(".citation-list > *")) entry.setAttribute("role", "listitem");
  for (const table of document.querySelectorAll(".pst-scrollable-table-container")) table.tabIndex = 0;
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
});
