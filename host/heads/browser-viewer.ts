/** The relay's viewer for browsers. */
import { packageVersion } from "../../common/package-root.ts";
import { VIEWER_PAGE } from "../../viewer/server/http/page-files.ts";
import { ViewerServer } from "../../viewer/server/viewer-server.ts";
import type { Configuration } from "../config.ts";
import type { OpenRelayViewer } from "../relay/relay-viewer.ts";
import { VmSources } from "./vm-sources.ts";

/**
 * The viewer of a configuration; undefined unless it is enabled. Opening it may fail with ViewerOptionsError.
 *
 * @param page folder of the built page
 */
export function viewerOf({ viewer }: Configuration, page: string = VIEWER_PAGE): OpenRelayViewer | undefined {
  if (!viewer.enabled) return undefined;
  return async (registry, log) => {
    const software = `vsockenc relay ${packageVersion}`;
    const server = await ViewerServer.start({
      ...{ options: viewer, page, software, registry, log },
      onListening: (listening) =>
        log.info({ address: listening.address() }, "viewer: open this address in a browser"),
    });
    return {
      address: () => server.address() || undefined,
      sources: server,
      show: (parts) => new VmSources(server, parts),
      close: () => server.close(),
    };
  };
}
