/** Connects the parts: the server's messages to player, list and notices, and the user's actions to the server. */
import { VIEWER_LIMITS } from "../../proto/viewer-limits.ts";
import type { ServerMessage } from "../../proto/viewer-messages.ts";
import { Connection, type ConnectionState } from "./connection/connection.ts";
import { type Body, listedSource, PROTOCOL_CODECS, sourceState, timesOf } from "./connection/protocol.ts";
import { Control } from "./control/control.ts";
import { byId, setText } from "./dom.ts";
import { type ListedSource, SourceList } from "./list/list.ts";
import { hintFor, noticeFor, type Situation, type SourceState } from "./picture/notice.ts";
import { Stage } from "./picture/stage.ts";
import { type Configuration, now, type Paint, type PlayerEvents } from "./player/unit.ts";
import type { Player } from "./player/webcodecs.ts";
import { showOverlay } from "./statistics/overlay.ts";
import { STATISTICS_PERIOD_MS, Statistics } from "./statistics/statistics.ts";
import { installTestHook, type TestHook } from "./test-hook.ts";
import { Tools } from "./tools/tools.ts";

const NO_SOURCES: readonly ListedSource[] = [];
const PLAIN_HTTP =
  "Over plain HTTP browsers offer no WebCodecs, and Media Source Extensions add a few frames of delay. Use HTTPS to avoid it.";

export class Viewer implements PlayerEvents {
  readonly #connection: Connection;
  readonly #control: Control;
  readonly #stage = new Stage(() => this.#retry());
  readonly #tools: Tools;
  readonly #list = new SourceList(byId("list", HTMLElement));
  readonly #overlay = byId("statistics", HTMLElement);
  readonly #statistics = new Statistics(now());
  #player: Player | undefined;
  #decoder: Situation["decoder"] = "ready";
  #testHook: TestHook | undefined;

  #connectionState: ConnectionState = { code: "connecting" };
  #sources: readonly ListedSource[] | undefined;
  #watched = sourceOfAddress();
  #state: SourceState | undefined;
  #configuration: Configuration | undefined;
  #failure: string | undefined;
  #painted = false;
  /** When the picture was last known to be fine, or could not be. */
  #fineAt = now();
  #arrivedSincePaint = 0;
  #decoderName = "none yet";
  #decodeQueue = 0;
  #serverStatistics: Body<"statistics"> | undefined;
  #keyFrameRequestedAt = Number.NEGATIVE_INFINITY;

  constructor(url: URL) {
    this.#connection = new Connection(url, {
      onState: (state) => this.#onConnection(state),
      onMessage: (message, arrivedAt) => this.#onMessage(message, arrivedAt),
      onRoundTrip: (ms) => this.#statistics.roundTrip(ms),
    });
    this.#control = new Control(this.#connection, () => this.#setControl(false));
    this.#tools = new Tools({
      onPreferences: ({ scale, statistics }) => {
        this.#stage.setScale(scale);
        this.#overlay.hidden = !statistics;
      },
      onControl: (on) => this.#setControl(on),
      onFullScreen: () => this.#stage.toggleFullScreen(),
    });
  }

  /** @param player the decoder, or why there is none */
  start(player: Player | "insecure" | "missing"): void {
    if (typeof player === "string") {
      this.#decoder = player;
    } else {
      this.#player = player;
      this.#stage.use(player.element);
      this.#testHook = installTestHook((points) => player.probe(points));
    }
    this.#tools.apply();
    window.addEventListener("hashchange", () => this.#watch(sourceOfAddress()));
    // A hidden page paints nothing.
    document.addEventListener("visibilitychange", () => this.#fine());
    window.setInterval(() => this.#tick(), STATISTICS_PERIOD_MS);
    this.#connection.open();
  }

  onDecoded(queueLength: number): void {
    this.#decodeQueue = queueLength;
    this.#statistics.decoded();
  }

  onPaint(paint: Paint): void {
    this.#fine();
    this.#statistics.paint(paint);
    this.#testHook?.paints.push(paint);
    if (!this.#painted) {
      this.#painted = true;
      this.#update();
    }
  }

  onDrop(reason: Parameters<PlayerEvents["onDrop"]>[0], count: number): void {
    this.#statistics.drop(reason, count);
    this.#testHook?.drops.push({ reason, count });
  }

  /** Called for every unit that cannot be decoded; a call that comes too early for the server is dropped. */
  onKeyFrameNeeded(): void {
    if (now() - this.#keyFrameRequestedAt < VIEWER_LIMITS.KEY_FRAME_MS) return;
    this.#keyFrameRequestedAt = now();
    this.#connection.send({ type: "keyFrameRequest", body: {} });
  }

  onFailure(text: string): void {
    this.#failure = text;
    this.#update();
  }

  onDecoder(name: string): void {
    this.#decoderName = name;
  }

  #onConnection(state: ConnectionState): void {
    this.#connectionState = state;
    if (state.code === "open") {
      const codecs = (this.#player?.codecs ?? []).map((name) => PROTOCOL_CODECS[name]);
      this.#connection.send({ type: "hello", body: { version: VIEWER_LIMITS.VERSION, codecs } });
      this.#connection.send({ type: "watch", body: { source: this.#watched } });
    } else {
      // Units are accepted again after the next connection's configuration.
      this.#configuration = undefined;
      this.#state = undefined;
      this.#setControl(false);
    }
    this.#fine();
    this.#update();
  }

  #onMessage(message: ServerMessage, arrivedAt: number): void {
    switch (message.type) {
      case "hello":
        byId("title", HTMLHeadingElement).title = message.body.software;
        break;
      case "sources":
        this.#onSources(message.body.sources.map(listedSource));
        break;
      case "configuration":
        this.#onConfiguration(message.body);
        break;
      case "accessUnit":
        this.#onAccessUnit(message.body, arrivedAt);
        break;
      case "state":
        this.#state = sourceState(message.body);
        this.#fine();
        this.#update();
        break;
      case "statistics":
        this.#serverStatistics = message.body;
        break;
      case "thumbnail":
        this.#list.thumbnail(message.body);
        break;
      case "cursor":
        this.#stage.pointer.show(message.body);
    }
  }

  #onSources(sources: readonly ListedSource[]): void {
    this.#sources = sources;
    const [only, another] = sources;
    // A single source is opened at once, unless the user went back to the list.
    if (location.hash === "" && only !== undefined && another === undefined) location.replace(`#/${only.id}`);
    this.#update();
  }

  #onConfiguration({ codec, width, height }: Body<"configuration">): void {
    this.#configuration = { codec, width, height };
    this.#failure = undefined;
    this.#player?.configure(this.#configuration);
    this.#stage.setSize(this.#configuration);
    this.#update();
  }

  #onAccessUnit(unit: Body<"accessUnit">, arrivedAt: number): void {
    if (this.#configuration === undefined || this.#player === undefined) return;
    const { number, ptsUs, key, replay, stages, sentUs } = unit;
    const data = unit.data as Uint8Array<ArrayBuffer>;
    if (!replay) {
      this.#arrivedSincePaint += 1;
      this.#statistics.arrival(arrivedAt, data.length);
    }
    const network = this.#connection.underway(Number(sentUs), arrivedAt);
    const times = { ...timesOf(stages), ...(network === undefined ? {} : { network }) };
    this.#player.decode({ number, ptsUs: Number(ptsUs), key, replay, arrivedAt, times, data });
  }

  #watch(id: string): void {
    this.#tools.chosen();
    if (id === this.#watched) return;
    this.#watched = id;
    this.#setControl(false);
    this.#player?.reset();
    this.#stage.setSize(undefined);
    this.#statistics.reset(now());
    this.#configuration = undefined;
    this.#serverStatistics = undefined;
    this.#state = undefined;
    this.#failure = undefined;
    this.#painted = false;
    this.#fine();
    this.#connection.send({ type: "watch", body: { source: id } });
    this.#update();
  }

  /** The button of a notice was pressed. */
  #retry(): void {
    if (this.#connectionState.code !== "open") {
      this.#connection.open();
      return;
    }
    this.#failure = undefined;
    if (this.#configuration !== undefined) this.#player?.configure(this.#configuration);
    this.onKeyFrameNeeded();
    this.#fine();
    this.#update();
  }

  #setControl(on: boolean): void {
    if (on === this.#control.on) return;
    if (on && this.#player !== undefined) this.#control.start(this.#player.element);
    else {
      this.#control.stop();
      this.#tools.focusControl();
    }
    this.#update();
  }

  #fine(): void {
    this.#fineAt = now();
    this.#arrivedSincePaint = 0;
  }

  #tick(): void {
    const page = this.#statistics.take(now());
    // The server sends no thumbnail of the watched source.
    const shows = this.#painted && this.#configuration !== undefined;
    if (shows && this.#player !== undefined) this.#list.copy(this.#watched, this.#player.element);
    if (this.#state !== undefined) {
      const { received, receivedBytes, decoded, painted, dropped } = page;
      const periodMs = Math.round(page.periodMs);
      const roundTripUs = Math.round((page.roundTripMs ?? 0) * 1000);
      const counts = { received, receivedBytes, decoded, painted, dropped, decodeQueue: this.#decodeQueue };
      this.#connection.send({ type: "report", body: { periodMs, roundTripUs, ...counts } });
    }
    if (!this.#overlay.hidden) {
      const [server, configuration] = [this.#serverStatistics, this.#configuration];
      showOverlay(this.#overlay, { page, server, decoder: this.#decoderName, configuration });
    }
    this.#update();
  }

  #update(): void {
    const source = this.#sources?.find(({ id }) => id === this.#watched);
    const running = this.#state?.code === "running" && !document.hidden;
    const situation: Situation = {
      connection: this.#connectionState,
      decoder: this.#decoder,
      failure: this.#failure,
      sourceCount: this.#sources?.length,
      watched: this.#watched === "" ? undefined : this.#watched,
      state: this.#state,
      painted: this.#painted,
      stalledSeconds: running ? (now() - this.#fineAt) / 1000 : undefined,
      arrivedSincePaint: this.#arrivedSincePaint,
    };
    const notice = noticeFor(situation);
    this.#stage.show(notice, hintFor(situation));
    this.#showHeading(source, notice?.mood === "trouble");
    const controllable = source?.input === true && this.#connectionState.code === "open";
    if (!controllable) this.#control.stop();
    this.#tools.showControl(controllable, this.#control.on);
    this.#list.show(this.#sources ?? NO_SOURCES, this.#watched);
  }

  #showHeading(source: ListedSource | undefined, trouble: boolean): void {
    const title = source === undefined ? "vsockenc" : [source.vm, source.title].filter(Boolean).join(" · ");
    byId("title", HTMLHeadingElement).textContent = title;
    document.title = source === undefined ? "vsockenc" : `${title} — vsockenc`;
    const state = byId("state", HTMLSpanElement);
    const open = this.#connectionState.code === "open";
    const condition = open ? (this.#state?.code ?? "connected") : "not connected";
    setText(state, window.isSecureContext ? condition : `${condition}, over plain HTTP`);
    state.title = window.isSecureContext ? "" : PLAIN_HTTP;
    document.body.dataset["view"] = this.#watched === "" ? "overview" : "picture";
    state.dataset["mood"] = trouble ? "bad" : this.#painted ? "good" : "none";
  }
}

/** The source that the address names as `#/id`. */
function sourceOfAddress(): string {
  return location.hash.startsWith("#/") ? decodeURIComponent(location.hash.slice(2)) : "";
}
