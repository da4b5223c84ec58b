// Exchanges the figures and tables every five seconds, while somebody looks. Without it, the page is loaded again by hand.
const live = document.querySelector('main[data-live]');

async function refresh() {
  if (document.hidden || live.contains(document.activeElement)) return;
  const response = await fetch('/', { cache: 'no-store' });
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const next = page.querySelector('main[data-live]');
  // Signed out, or the gateway is another one.
  if (!next) return location.reload();
  const scrolled = [...live.querySelectorAll('.scroll')].map((box) => box.scrollLeft);
  live.replaceChildren(...next.childNodes);
  live.querySelectorAll('.scroll').forEach((box, at) => { box.scrollLeft = scrolled[at] ?? 0; });
  live.dataset.refreshed = Number(live.dataset.refreshed ?? 0) + 1;
}

if (live) setInterval(() => refresh().catch(() => { live.dataset.lost = 'true'; }), 5000);
