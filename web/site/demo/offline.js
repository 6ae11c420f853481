/** Makes the page work without a network, once it was loaded: its service worker is `service-worker.js`. */

const CONTROL_MS = 5000;
const RELOADED = "bokeh-reloaded";

/**
 * Installs the service worker if the site says in `site.json` that it stays at its address: the command that serves a page
 * has another port each time, and what the browser kept for each would never be used again, nor removed. On a host that does not send the headers that wasm threads need, the service worker adds
 * them, for which the page is loaded again once.
 *
 * @param {(text: string) => void} say
 * @param {() => boolean} isUsed Whether a photo was chosen, which loading again would lose.
 * @returns {Promise<{reloads: boolean}>}
 */
export async function installOffline(say, isUsed) {
  if (!(await stays())) {
    say("This page works while the command that serves it runs.");
    return { reloads: false };
  }
  if (!("serviceWorker" in navigator)) {
    say("This page does not work offline here: that needs https, or localhost.");
    return { reloads: false };
  }
  try {
    await navigator.serviceWorker.register("service-worker.js", { updateViaCache: "none" });
    await controlled();
  } catch {
    say("This page does not work offline here: the browser does not trust the connection.");
    return { reloads: false };
  }
  if (!navigator.serviceWorker.controller) {
    say("Reload this page to make it work offline.");
    return { reloads: false };
  }
  say("Once it has rendered a photo, this page works offline. The browser's menu installs it as an app.");
  if (!crossOriginIsolated && !isUsed() && !sessionStorage.getItem(RELOADED)) {
    sessionStorage.setItem(RELOADED, "yes");
    location.reload();
    return { reloads: true };
  }
  return { reloads: false };
}

async function stays() {
  const answer = await fetch("site.json").catch(() => null);
  return answer?.ok ? (await answer.json()).offline === true : false;
}

/** Waits until the service worker keeps what the page loads. */
async function controlled() {
  if (navigator.serviceWorker.controller) return;
  await new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", () => resolve(null), { once: true });
    setTimeout(resolve, CONTROL_MS);
  });
}
