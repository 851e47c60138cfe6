/**
 * Who may have the page and the pictures.
 *
 * The token keeps out who does not know it. A web page elsewhere must not borrow a browser that does: it is refused by
 * its Origin, and where it made its own name point here (DNS rebinding) by the Host header. An attacker can have any
 * name point to any address, but cannot have a page at an address that is not his own; so addresses are good hosts, and
 * names are if somebody vouched for them.
 */
import { createHash, randomBytes, timingSafeEqual, type X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { isLoopback } from "../../../common/address.ts";
import { requestTarget } from "../../../common/http-request.ts";
import type { ViewerOptions } from "../options.ts";

/** Why a request gets nothing: an HTTP status and a sentence for people. */
export interface Refusal {
  readonly status: number;
  readonly reason: "host" | "origin" | "token";
  readonly text: string;
}

const RANDOM_TOKEN_BYTES = 24;

export class Access {
  readonly token: string;
  readonly #loopback: boolean;
  readonly #names: ReadonlySet<string>;
  readonly #certificate: X509Certificate | undefined;

  constructor({ token, host, names }: ViewerOptions, certificate: X509Certificate | undefined) {
    this.token = token ?? randomBytes(RANDOM_TOKEN_BYTES).toString("base64url");
    this.#loopback = isLoopback(host);
    this.#names = new Set(names.map((name) => name.toLowerCase()));
    this.#certificate = certificate;
  }

  /** For the page and its files, which are no secret. */
  refuseHost(request: IncomingMessage): Refusal | undefined {
    const { hostname } = requestTarget(request);
    if (this.#isOwnName(hostname)) return undefined;
    const text = `${hostname === "" ? "a request without a valid Host" : `the name ${hostname}`} is refused: use the address that was printed, or list the name in viewer.names`;
    return { status: 403, reason: "host", text };
  }

  /** For pictures and input. */
  refuse(request: IncomingMessage): Refusal | undefined {
    const refusal = this.refuseHost(request);
    if (refusal !== undefined) return refusal;
    if (!isSameOrigin(request))
      return { status: 403, reason: "origin", text: "pages of other origins are refused" };
    if (!isEqual(requestTarget(request).query.get("token") ?? "", this.token)) {
      const text = "the token is absent or wrong: open the address that was printed when the server started";
      return { status: 401, reason: "token", text };
    }
    return undefined;
  }

  #isOwnName(hostname: string): boolean {
    if (isLoopback(hostname) || this.#names.has(hostname)) return true;
    if (isIP(hostname) !== 0) return !this.#loopback;
    return hostname !== "" && this.#certificate?.checkHost(hostname) !== undefined;
  }
}

/** Programs that are no browsers send no Origin, and need the token all the same. */
function isSameOrigin({ headers }: IncomingMessage): boolean {
  if (headers.origin === undefined) return true;
  // The scheme may differ: a proxy in front may speak TLS.
  return URL.canParse(headers.origin) && new URL(headers.origin).host === headers.host?.toLowerCase();
}

/** In a time that does not depend on where the two differ, nor on their lengths. */
function isEqual(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
