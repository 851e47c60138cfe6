/**
 * The text of a page, over a connection of its own: one that is kept for the next request may be closed by the server
 * just as that begins.
 */
export async function pageText(address: string): Promise<string> {
  return await (await fetch(address, { headers: { connection: "close" } })).text();
}
