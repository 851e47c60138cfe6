/** Certificate and key for TLS. */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { errorText } from "../../../common/error-text.ts";
import { type ViewerOptions, ViewerOptionsError } from "../options.ts";

export interface Certificate {
  /** PEM, with the chain. */
  readonly cert: Buffer;
  readonly key: Buffer;
  /** The first of the chain, the server's own. */
  readonly own: X509Certificate;
}

/**
 * Reads and checks both files; undefined if none are configured.
 *
 * @throws ViewerOptionsError naming the file, the fault and the remedy
 */
export async function readCertificate(options: ViewerOptions): Promise<Certificate | undefined> {
  if (options.certificate === undefined || options.key === undefined) return undefined;
  const { certificate, key: keyFile } = options;
  const readable = (field: string): string =>
    `viewer.${field} cannot be read: name a file that this user may read`;
  const cert = await attempt(() => readFile(certificate), readable("certificate"));
  const key = await attempt(() => readFile(keyFile), readable("key"));
  const own = await attempt(() => new X509Certificate(cert), `${certificate} is not a certificate in PEM`);
  const wrongKey = `${keyFile} is not a PEM private key for the certificate ${certificate}`;
  await attempt(() => createSecureContext({ cert, key }), wrongKey);
  if (Date.parse(own.validTo) < Date.now()) {
    throw new ViewerOptionsError(`${options.certificate} has expired (${own.validTo}): renew it`);
  }
  return { cert, key, own };
}

async function attempt<Result>(action: () => Result, complaint: string): Promise<Awaited<Result>> {
  try {
    return await action();
  } catch (error) {
    throw new ViewerOptionsError(`${complaint} (${errorText(error)})`);
  }
}
