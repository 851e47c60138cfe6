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
  const cert = await readPem(options.certificate, "certificate");
  const key = await readPem(options.key, "key");
  const own = attempt(() => new X509Certificate(cert), `${options.certificate} is not a certificate in PEM`);
  attempt(
    () => createSecureContext({ cert, key }),
    `${options.key} is not a PEM private key for the certificate ${options.certificate}`,
  );
  if (Date.parse(own.validTo) < Date.now()) {
    throw new ViewerOptionsError(`${options.certificate} has expired (${own.validTo}): renew it`);
  }
  return { cert, key, own };
}

async function readPem(path: string, field: "certificate" | "key"): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    const reason = errorText(error);
    throw new ViewerOptionsError(
      `viewer.${field} cannot be read (${reason}): name a file that this user may read`,
    );
  }
}

function attempt<Result>(action: () => Result, complaint: string): Result {
  try {
    return action();
  } catch (error) {
    throw new ViewerOptionsError(`${complaint} (${errorText(error)})`);
  }
}
