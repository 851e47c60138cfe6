/** Puts the parts together: messages of the server to player, list and sentences; what a person does to the server. */
import type { ServerMessage } from "../../proto/viewer-messages.ts";
import { Connection, type ConnectionState, PROTOCOL_VERSION } from "./connection/connection.ts";
import { listedSource, protocolCodec, sourceState, timesOf } from "./connection/protocol.ts";
import { Control } from "./control/control.ts";
import { byId } from "./dom.ts";
import { type ListedSource, SourceList } from "./list/list.ts";
import { hintFor, noticeFor, type Situation, type SourceState } from "./picture/notice.ts";
import { Stage } from "./picture/stage.ts";
import { KeyFrameRequests } from "./player/key-frames.ts";
import type { Player, PlayerEvents } from "./player/player.ts";
import { type Configuration, now, type Paint } from "./player/unit.ts";
import { Overlay, type ServerStatistics } from "./statistics/overlay.ts";
import { STATISTICS_PERIOD_MS, Statistics } from "./statistics/statistics.ts";
import { installTestHook, type TestHook } from "./test-hook.ts";
import type { Preferences } from "./tools/preferences.ts";
import { Tools } from "./tools/tools.ts";

type Body<Type extends ServerMessage["type"]> = Extract<ServerMessage, { type: Type }>["body"];

const NO_SOURCES: readonly ListedSource[] = [];
const PLAIN_HTTP =
  "Browsers offer WebCodecs to secure pages alone. Over plain HTTP the picture comes through Media Source Extensions, some frames later; HTTPS mends that.";

export class Viewer implements PlayerEvents {
  readonly #connection: Connection;
  readonly #keyFrames: KeyFrameRequests;
  readonly #control: Control;
  readonly #stage = new Stage(() => this.#retry());
  readonly #tools: Tools;
  readonly #list = new SourceList(byId("list", HTMLElement));
  readonly #overlayRoot = byId("statistics", HTMLElement);
  readonly #overlay = new Overlay(this.#overlayRoot);
  readonly #statistics = new Statistics(now());
  #player: Player | undefined;
  #missing: Situation["decoder"] = "ready";
  #testHook: TestHook | undefined;

  #connectionState: ConnectionState = { code: "connecting" };
  #sources: readonly ListedSource[] | undefined;
  #watched = sourceOfAddress();
  #state: SourceState | undefined;
  #configuration: Configuration | undefined;
  #failure: string | undefined;
  #painted = false;
  /** When the picture was last known to be well, or could not be. */
  #wellAt = now();
  #arrivedSincePaint = 0;
  #decoderName = "none yet";
  #decodeQueue = 0;
  #roundTripMs = 0;
  #serverStatistics: ServerStatistics | undefined;

  constructor(url: URL) {
    this.#connection = new Connection(url, {
      onState: (state) => this.#onConnection(state),
      onMessage: (message, arrivedAt) => this.#onMessage(message, arrivedAt),
      onRoundTrip: (ms) => {
        this.#roundTripMs = ms;
        this.#statistics.roundTrip(ms);
      },
    });
    this.#keyFrames = new KeyFrameRequests(() =>
      this.#connection.send({ type: "keyFrameRequest", body: {} }),
    );
    this.#control = new Control(this.#connection, () => this.#setControl(false));
    this.#tools = new Tools(
      {
        onPreferences: (preferences) => this.#onPreferences(preferences),
        onControl: (on) => this.#setControl(on),
        onFullScreen: () => this.#stage.toggleFullScreen(),
      },
      this.#stage.canFullScreen,
    );
  }

  /** @param player what decodes, or why nothing does */
  start(player: Player | "insecure" | "missing"): void {
    if (typeof player === "string") {
      this.#missing = player;
    } else {
      this.#player = player;
      this.#stage.use(player.element);
      this.#testHook = installTestHook((points) => player.probe(points));
    }
    this.#tools.apply();
    window.addEventListener("hashchange", () => this.#watch(sourceOfAddress()));
    // A page that nobody sees paints nothing.
    document.addEventListener("visibilitychange", () => this.#well());
    window.setInterval(() => this.#tick(), STATISTICS_PERIOD_MS);
    this.#connection.open();
  }

  onDecoded(queueLength: number): void {
    this.#decodeQueue = queueLength;
    this.#statistics.decoded();
  }

  onPaint(paint: Paint): void {
    this.#well();
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

  onKeyFrameNeeded(): void {
    this.#keyFrames.need();
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
      const codecs = (this.#player?.codecs ?? []).map(protocolCodec);
      this.#connection.send({ type: "hello", body: { version: PROTOCOL_VERSION, codecs } });
      this.#connection.send({ type: "watch", body: { source: this.#watched } });
    } else {
      // What comes after the next connection's configuration, and nothing before it, belongs together.
      this.#configuration = undefined;
      this.#state = undefined;
      this.#setControl(false);
    }
    this.#well();
    this.#update();
  }

  #onMessage(message: ServerMessage, arrivedAt: number): void {
    switch (message.type) {
      case "hello":
        byId("title", HTMLHeadingElement).title = message.body.software;
        return;
      case "sources":
        this.#onSources(message.body.sources.map(listedSource));
        return;
      case "configuration":
        this.#onConfiguration(message.body);
        return;
      case "accessUnit":
        this.#onAccessUnit(message.body, arrivedAt);
        return;
      case "state":
        this.#state = sourceState(message.body);
        this.#well();
        this.#update();
        return;
      case "statistics":
        this.#serverStatistics = message.body;
        return;
      case "thumbnail": {
        const { source, codec, units } = message.body;
        this.#list.thumbnail(source, codec, units);
        return;
      }
      case "cursor":
        this.#stage.showPointer(message.body);
        return;
      case "pong":
        return;
    }
  }

  #onSources(sources: readonly ListedSource[]): void {
    this.#sources = sources;
    const [only, another] = sources;
    // Where there is one alone, there is nothing to choose, unless a person went back to the list.
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
      this.#statistics.arrival({ at: arrivedAt, bytes: data.length });
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
    this.#well();
    this.#connection.send({ type: "watch", body: { source: id } });
    this.#update();
  }

  /** The button of a notice. */
  #retry(): void {
    if (this.#connectionState.code !== "open") {
      this.#connection.open();
      return;
    }
    this.#failure = undefined;
    if (this.#configuration !== undefined) this.#player?.configure(this.#configuration);
    this.#keyFrames.need();
    this.#well();
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

  #onPreferences({ scale, statistics }: Preferences): void {
    this.#stage.setScale(scale);
    this.#overlayRoot.hidden = !statistics;
  }

  #well(): void {
    this.#wellAt = now();
    this.#arrivedSincePaint = 0;
  }

  #tick(): void {
    const page = this.#statistics.take(now());
    // The server sends small pictures of the sources that are not watched; the watched one's comes from here.
    const shows = this.#painted && this.#configuration !== undefined;
    if (shows && this.#player !== undefined) this.#list.copy(this.#watched, this.#player.element);
    const { periodMs, received, receivedBytes, decoded, painted, dropped } = page;
    if (this.#state !== undefined) {
      const body = {
        periodMs: Math.round(periodMs),
        received,
        receivedBytes,
        decoded,
        painted,
        dropped,
        decodeQueue: this.#decodeQueue,
        roundTripUs: Math.round(this.#roundTripMs * 1000),
      };
      this.#connection.send({ type: "report", body });
    }
    if (!this.#overlayRoot.hidden) {
      this.#overlay.show({
        page,
        server: this.#serverStatistics,
        decoder: this.#decoderName,
        codec: this.#configuration?.codec ?? "",
        size: this.#configuration,
      });
    }
    this.#update();
  }

  #update(): void {
    const source = this.#sources?.find(({ id }) => id === this.#watched);
    const running = this.#state?.code === "running" && !document.hidden;
    const situation: Situation = {
      connection: this.#connectionState,
      decoder: this.#missing,
      failure: this.#failure,
      sourceCount: this.#sources?.length,
      watched: this.#watched === "" ? undefined : this.#watched,
      state: this.#state,
      painted: this.#painted,
      stalledSeconds: running ? (now() - this.#wellAt) / 1000 : undefined,
      arrivedSincePaint: this.#arrivedSincePaint,
    };
    const notice = noticeFor(situation);
    this.#stage.show(notice, hintFor(situation), notice === undefined);
    this.#showHeading(source, notice !== undefined && notice.mood === "trouble");
    const controllable = source?.input === true && this.#connectionState.code === "open";
    if (!controllable) this.#setControlOff();
    this.#tools.showControl(controllable, this.#control.on);
    this.#list.show(this.#sources ?? NO_SOURCES, this.#watched);
  }

  #setControlOff(): void {
    if (this.#control.on) this.#control.stop();
  }

  #showHeading(source: ListedSource | undefined, trouble: boolean): void {
    const title = source === undefined ? "vsockenc" : [source.vm, source.title].filter(Boolean).join(" · ");
    byId("title", HTMLHeadingElement).textContent = title;
    document.title = source === undefined ? "vsockenc" : `${title} — vsockenc`;
    const state = byId("state", HTMLSpanElement);
    const condition =
      this.#connectionState.code === "open" ? (this.#state?.code ?? "connected") : "not connected";
    const text = window.isSecureContext ? condition : `${condition}, over plain HTTP`;
    state.title = window.isSecureContext ? "" : PLAIN_HTTP;
    document.body.dataset["view"] = this.#watched === "" ? "overview" : "picture";
    if (state.textContent !== text) state.textContent = text;
    state.dataset["mood"] = trouble ? "bad" : this.#painted ? "good" : "none";
  }
}

/** What the address names: `#/id`. */
function sourceOfAddress(): string {
  return location.hash.startsWith("#/") ? decodeURIComponent(location.hash.slice(2)) : "";
}
