// Domain names in all scripts: the form in which programs know a name, and the one in which people read it.

/** @typedef {{ ascii: string, shown: string }} Name */

// Space around a name, as JavaScript or Python sees it, and the dot at its end.
const AROUND = /^[\s\x1c-\x1f\x85]+|[.\u3002\uff0e\uff61]?[\s\x1c-\x1f\x85]*$/g;
const OTHER_SCRIPT = /[^\0-\x7f]/;
const WITH_A_MEANING_IN_URLS = /[\0-,/:-@[-`{-\x7f]/;
const UNSEEN = /(?![\u200c\u200d])\p{Default_Ignorable_Code_Point}/gu; // the two joiners are part of names

/**
 * What is no name keeps the form in which it was typed: the service says what is wrong with it.
 * @param {string} typed
 * @returns {Name}
 */
export function readName(typed) {
  const text = typed.replace(AROUND, "");
  const ascii = toAscii(text);
  const lower = Array.from(text.normalize("NFKC"), (letter) => letter.toLowerCase()).join("");
  const shown = lower.replace(UNSEEN, "").replaceAll("\u3002", ".").normalize("NFC");
  return { ascii, shown: toAscii(shown) === ascii ? shown : ascii };
}

/** @param {string} text */
function toAscii(text) {
  if (!OTHER_SCRIPT.test(text)) return text.toLowerCase();
  if (WITH_A_MEANING_IN_URLS.test(text)) return text;
  try {
    const { hostname } = new URL(`http://${text}`);
    return /[a-z]/.test(hostname) ? hostname : text; // else it was read as an IP address
  } catch {
    return text;
  }
}
