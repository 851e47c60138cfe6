/**
 * Decides which requests get the page and the pictures.
 *
 * Watching requires the token. Pages of other origins, which could use a browser that knows the token, are rejected by
 * Origin, and after DNS rebinding by Host. An attacker can point any name here, but cannot serve a page from an address
 * that is not theirs; so IP addresses are accepted as Host, and names only if they are configured or in the certificate.
 */
import { createHash, randomBytes, timingSafeEqual, type X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { isLoopback } from "../../../common/address.ts";
import { requestTarget } from "../../../common/http-request.ts";
import type { RefusalReason } from "../metrics.ts";
import type { ViewerOptions } from "../options.ts";

/** Why a request is rejected: an HTTP status and a sentence for the user. */
export interface Refusal {
  readonly status: number;
  readonly reason: RefusalReason;
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

  /** For the page and its files, which are public. */
  refuseHost(request: IncomingMessage): Refusal | undefined {
    const { hostname } = requestTarget(request);
    if (this.#isOwnName(hostname)) return undefined;
    const what = hostname === "" ? "a request without a valid Host" : `the unknown host name ${hostname}`;
    const text = `rejected ${what}: use the printed address, or add the name to viewer.names`;
    return { status: 403, reason: "host", text };
  }

  /** For pictures and input. */
  refuse(request: IncomingMessage): Refusal | undefined {
    const refusal = this.refuseHost(request);
    if (refusal !== undefined) return refusal;
    if (!isSameOrigin(request))
      return { status: 403, reason: "origin", text: "rejected a page of another origin" };
    if (!isEqual(requestTarget(request).query.get("token") ?? "", this.token)) {
      const text = "missing or wrong token: open the address that the server printed when it started";
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

/** Programs other than browsers send no Origin; they need the token as well. */
function isSameOrigin({ headers }: IncomingMessage): boolean {
  if (headers.origin === undefined) return true;
  // The scheme may differ, because a proxy in front may speak TLS.
  return URL.canParse(headers.origin) && new URL(headers.origin).host === headers.host?.toLowerCase();
}

/** In constant time, whatever the contents and lengths. */
function isEqual(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
