// What a person may stumble over on a page, found from within it.

function brightness(color) {
  const [r, g, b] = color.map((v) => (v / 255 <= 0.03928 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// rgb() counts to 255, a mixed color(srgb …) to 1.
function numbers(css) {
  const found = css.match(/[\d.]+/g).map(Number);
  return css.startsWith("color(") ? found.map((v, i) => (i < 3 ? 255 * v : v)) : found;
}

function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const color = numbers(getComputedStyle(at).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
}

const seen = (element) => element.checkVisibility({ opacityProperty: true }) && !element.closest(".hidden");

// Text with less contrast than WCAG 2 AA asks for.
function faint() {
  const out = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!text || !seen(element)) continue;
    const style = getComputedStyle(element);
    const [a, b] = [brightness(numbers(style.color)), brightness(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) out.push([element.textContent.trim(), ratio]);
  }
  return out;
}

// Controls and images that a screen reader has no words for.
function nameless() {
  const all = document.querySelectorAll("a, button, input:not([type=hidden]), img:not([alt]), progress, summary");
  return [...all]
    .filter((e) => seen(e) && e.ariaHidden !== "true")
    .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
    .map((e) => e.outerHTML);
}

// Targets below WCAG 2.2's 24 pixels, but for links within text.
function small() {
  return [...document.querySelectorAll("a, button, summary, .option")]
    .filter((e) => seen(e) && !e.closest("p, li, .skip, .keys"))
    .map((e) => [e.textContent.trim(), e.getBoundingClientRect()])
    .filter(([, box]) => box.width && (box.width < 24 || box.height < 24))
    .map(([text, box]) => [text, box.width, box.height]);
}
