/** Thrown for text that is not the token of an id, and for an id that has no token. */
export class TokenError extends Error {
  override readonly name = "TokenError";
}

/**
 * Encodes an id as one token of a subject or view key: each byte of its UTF-8 text
 * outside `A-Za-z0-9_-` becomes `=XX`, in upper-case hexadecimal. `john.smith` is
 * `john=2Esmith`. The encoding is reversible.
 *
 * @throws {TokenError} The id is empty, or holds half of a surrogate pair.
 */
export function encodeToken(id: string): string {
  if (id === "") throw new TokenError("encode token: the id is empty");
  if (/^[A-Za-z0-9_-]+$/.test(id)) return id;
  if (!id.isWellFormed()) throw new TokenError(`encode token: ${JSON.stringify(id)} is not well-formed text`);
  let token = "";
  for (const byte of new TextEncoder().encode(id)) {
    token += isPlain(byte) ? String.fromCharCode(byte) : `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return token;
}

/**
 * Decodes a token: the reverse of {@link encodeToken}.
 *
 * @throws {TokenError} The text is not what {@link encodeToken} returns for any id.
 */
export function decodeToken(token: string): string {
  if (!/^(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+$/.test(token)) throw new TokenError(`decode token: ${JSON.stringify(token)} is no token`);
  if (!token.includes("=")) return token;
  const bytes: number[] = [];
  for (let i = 0; i < token.length; i++) {
    if (token[i] !== "=") {
      bytes.push(token.charCodeAt(i));
      continue;
    }
    const byte = Number.parseInt(token.slice(i + 1, i + 3), 16);
    if (isPlain(byte)) throw new TokenError(`decode token: ${JSON.stringify(token)} escapes a plain byte`);
    bytes.push(byte);
    i += 2;
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    throw new TokenError(`decode token: ${JSON.stringify(token)} is not UTF-8`);
  }
}

/** Reports whether a byte stands for itself in a token. */
function isPlain(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) || // 0-9
    (byte >= 0x41 && byte <= 0x5a) || // A-Z
    (byte >= 0x61 && byte <= 0x7a) || // a-z
    byte === 0x5f || // _
    byte === 0x2d // -
  );
}
