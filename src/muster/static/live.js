import { tellClocks } from "./clock.js";

const EVERY_MS = 1000;
const AT_MOST_MS = 30_000;

/**
 * Fetches the page at region's data-live (empty: this page) again and again, and carries what changed into
 * the region, until the server's copy no longer has data-live. The region is found there by its id, and
 * asked for each data-every seconds, or every second.
 */
export function watch(region) {
  const every = Number(region.dataset.every ?? 1) * EVERY_MS;
  let pause = every;
  const again = () => setTimeout(look, pause);

  async function look() {
    if (document.hidden) {
      document.addEventListener("visibilitychange", look, { once: true });
      return;
    }
    const page = await fetchPage(region.dataset.live);
    if (!page) {
      pause = Math.min(pause * 2, AT_MOST_MS);
      again();
      return;
    }
    const fresh = page.getElementById(region.id);
    if (!fresh) {
      location.reload(); // signed out, or the thing is gone: let the server say so
      return;
    }
    pause = every;
    tellClocks(fresh);
    carry(region, fresh);
    if ("live" in region.dataset) again();
    else document.title = page.title;
  }

  again();
}

/**
 * The document at url, or null if it cannot be had now. XMLHttpRequest hands over a parsed document that
 * runs no scripts; fetch would need a string parsed, which the Trusted Types policy rightly forbids.
 */
function fetchPage(url) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = "document";
    request.timeout = 10_000;
    request.onloadend = () => {
      const later = request.status === 429 || request.status >= 500;
      resolve(later ? null : request.response);
    };
    request.send();
  });
}

/** Makes one node like another, touching only what differs, so focus, selection and open details stay. */
function carry(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = fresh.nodeValue;
    return;
  }
  carryAttributes(old, fresh);
  const oldNodes = [...old.childNodes];
  const freshNodes = [...fresh.childNodes];
  for (const node of oldNodes.slice(freshNodes.length)) node.remove();
  freshNodes.forEach((node, i) => (oldNodes[i] ? carry(oldNodes[i], node) : old.append(node)));
}

function carryAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}
