/** What is asked of the page in the browser: expressions, as text, for the tests are compiled without a page's types. */

/** Different colours in the first chart. */
export const COLORS_DRAWN = `(() => {
  const canvas = document.querySelector('.chart canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
})()`;

/** How far each text is from what is behind it, as WCAG counts it: 1 to 21. */
export const CONTRAST_RATIOS = `(() => {
  const luminance = (color) => {
    const [r, g, b] = color
      .match(/[0-9]+/g)
      .map((part) => Number(part) / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backgroundOf = (from) => {
    for (let at = from; at !== null; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (color !== 'rgba(0, 0, 0, 0)') return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const texts =
    '.value, .note, .name, .title, .unit, .key, thead th, tbody td, .detail, .badge, dd, dt, .ranges span, .tools button:enabled';
  return [...document.querySelectorAll(texts)].map((text) => {
    const [a, b] = [luminance(getComputedStyle(text).color), luminance(backgroundOf(text))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  });
})()`;
