// Shows how many characters are left; the page works without it.
for (const area of document.querySelectorAll("textarea[data-count]")) {
  const out = document.getElementById(area.dataset.count);
  const show = () => {
    const left = area.maxLength - [...area.value].length;
    out.textContent = String(left);
    out.classList.toggle("low", left < 20);
  };
  area.addEventListener("input", show);
  show();
}
