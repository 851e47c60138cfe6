/**
 * The relay's metrics for Prometheus, of streams and heads. The label `vm` is the configured name, or empty for links without a VM, so the
 * configuration bounds the number of series.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { EncodedPacket, EncoderDescription } from "../encoders/encoder.ts";
import type { ReadTimes } from "../export/client.ts";
import type { PictureTier } from "../native/picture.ts";
import type { WireErrorCode } from "./errors.ts";
import { VM_STATES, type VmState } from "./vm-state.ts";

/** From a tenth of a millisecond (idle) to half a second (overloaded). */
const STAGE_BUCKETS = [0.0001, 0.0003, 0.001, 0.002, 0.004, 0.008, 0.016, 0.033, 0.066, 0.13, 0.25, 0.5];

/** The metrics of one VM's sessions. */
export type StreamMetrics = ReturnType<RelayMetrics["forVm"]>;

/** The metrics of one VM's heads. */
export type HeadMetrics = ReturnType<RelayMetrics["headsOf"]>;

/** A metric as prom-client's registry reports it, and as workers send theirs. */
export interface MetricReport {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly aggregator: "sum";
  readonly values: {
    readonly value: number;
    readonly labels: Record<string, string | number>;
    readonly metricName?: string | undefined;
  }[];
}

/** The state of the relay, read at each scrape. */
export interface RelayState {
  /** Whether the exporter answers, of each VM that has one. */
  exporters(): readonly { readonly vm: string; readonly up: boolean }[];
  vms(): readonly { readonly vm: string; readonly state: VmState }[];
  links(): readonly { readonly vm: string; readonly link: string; readonly connections: number }[];
}

export class RelayMetrics {
  readonly registry = new Registry();
  /** Of this process alone. */
  readonly process = new Registry();
  readonly #registers = { registers: [this.registry] };
  readonly #sessions = this.#gauge("sessions", "Open sessions.", ["vm"]);
  readonly #sessionsOpened = this.#counter("sessions_opened_total", "Sessions opened.", ["vm"]);
  readonly #encoders = this.#gauge("streams", "Streams with an open encoder.", ["vm", "encoder", "hardware"]);
  readonly #buffers = this.#gauge("buffers", "Attached buffers, by how their pixels are reached.", [
    "vm",
    "tier",
  ]);
  readonly #bytes = this.#counter("link_bytes_total", "Bytes on links, by direction from the host's view.", [
    "vm",
    "direction",
  ]);
  readonly #received = this.#counter("frames_received_total", "Frames received from guests.", ["vm"]);
  readonly #encoded = this.#counter("frames_encoded_total", "Frames answered with a packet.", ["vm", "key"]);
  readonly #encodedBytes = this.#counter("encoded_bytes_total", "Bytes of access units.", ["vm"]);
  readonly #dropped = this.#counter("frames_dropped_total", "Frames answered with Dropped.", [
    "vm",
    "reason",
  ]);
  readonly #failed = this.#counter("frames_failed_total", "Frames answered with an error.", ["vm", "code"]);
  readonly #heads = this.#gauge("heads", "Watched heads of the VM, with an open encoder.", [
    "vm",
    "encoder",
    "hardware",
  ]);
  readonly #headFrames = this.#counter("head_frames_encoded_total", "Encoded pictures of heads.", [
    "vm",
    "key",
  ]);
  readonly #headBytes = this.#counter("head_encoded_bytes_total", "Bytes of heads' access units.", ["vm"]);
  readonly #headsFailed = this.#counter(
    "head_frames_failed_total",
    "Pictures of heads that could not be read or encoded.",
    ["vm"],
  );
  readonly #stages = new Histogram({
    name: "vsockenc_frame_stage_seconds",
    help: "Time of a frame on the host: reading of rendered pixels (wait and copy), waiting for the encoder's thread, colour conversion, encoding.",
    labelNames: ["vm", "stage"],
    buckets: STAGE_BUCKETS,
    ...this.#registers,
  });

  /** Adds the state of the relay, and of this process. */
  observe(state: RelayState): void {
    collectDefaultMetrics({ register: this.process });
    new Gauge({
      name: "vsockenc_exporter_up",
      help: "Whether the VM's exporter answers.",
      labelNames: ["vm"],
      ...this.#registers,
      collect() {
        this.reset();
        for (const { vm, up } of state.exporters()) this.set({ vm }, up ? 1 : 0);
      },
    });
    new Gauge({
      name: "vsockenc_vm_state",
      help: "1 for what the VM is doing: off, starting, running, or without-gpu, which a restart of the VM mends.",
      labelNames: ["vm", "state"],
      ...this.#registers,
      collect() {
        this.reset();
        for (const { vm, state: current } of state.vms()) {
          for (const name of VM_STATES) this.set({ vm, state: name }, name === current ? 1 : 0);
        }
      },
    });
    new Gauge({
      name: "vsockenc_link_connections",
      help: "Connections of each link: 1 for a chardev that is connected.",
      labelNames: ["vm", "link"],
      ...this.#registers,
      collect() {
        this.reset();
        for (const { vm, link, connections } of state.links()) this.set({ vm, link }, connections);
      },
    });
  }

  /** For another process's registry. */
  async report(): Promise<MetricReport[]> {
    // prom-client declares a number for the type, and reports its name.
    return (await this.registry.getMetricsAsJSON()) as unknown as MetricReport[];
  }

  /** @param vm its name; "" for links without a VM */
  forVm(vm: string) {
    const stage = (name: "read-wait" | "read-copy" | "queue" | "convert" | "encode") =>
      this.#stages.labels({ vm, stage: name });
    const [readWait, readCopy] = [stage("read-wait"), stage("read-copy")];
    const [queue, convert, encode] = [stage("queue"), stage("convert"), stage("encode")];
    const sessions = this.#sessions.labels({ vm });
    const opened = this.#sessionsOpened.labels({ vm });
    const received = this.#received.labels({ vm });
    const bytesIn = this.#bytes.labels({ vm, direction: "in" });
    const bytesOut = this.#bytes.labels({ vm, direction: "out" });
    const encodedBytes = this.#encodedBytes.labels({ vm });
    const encoders = ({ encoder, hardware }: EncoderDescription) =>
      this.#encoders.labels({ vm, encoder, hardware: String(hardware) });
    return {
      sessionOpened: () => {
        sessions.inc();
        opened.inc();
      },
      sessionEnded: () => sessions.dec(),
      bytesReceived: (count: number) => bytesIn.inc(count),
      bytesSent: (count: number) => bytesOut.inc(count),
      frameReceived: () => received.inc(),
      /** @param read absent where the pixels were not rendered */
      frameEncoded: ({ key, data, queueUs, convertUs, encodeUs }: EncodedPacket, read?: ReadTimes) => {
        if (read !== undefined) {
          readWait.observe(read.waitUs / 1e6);
          readCopy.observe(read.copyUs / 1e6);
        }
        this.#encoded.labels({ vm, key: String(key) }).inc();
        encodedBytes.inc(data.length);
        queue.observe(queueUs / 1e6);
        convert.observe(convertUs / 1e6);
        encode.observe(encodeUs / 1e6);
      },
      frameDropped: (reason: "flushed" | "encoder") => this.#dropped.labels({ vm, reason }).inc(),
      frameFailed: (code: WireErrorCode) => this.#failed.labels({ vm, code }).inc(),
      bufferAttached: (tier: PictureTier) => this.#buffers.labels({ vm, tier }).inc(),
      bufferDetached: (tier: PictureTier) => this.#buffers.labels({ vm, tier }).dec(),
      encoderOpened: (description: EncoderDescription) => encoders(description).inc(),
      encoderClosed: (description: EncoderDescription) => encoders(description).dec(),
    };
  }

  headsOf(vm: string) {
    const gauge = ({ encoder, hardware }: EncoderDescription) =>
      this.#heads.labels({ vm, encoder, hardware: String(hardware) });
    return {
      encoderOpened: (description: EncoderDescription) => gauge(description).inc(),
      encoderClosed: (description: EncoderDescription) => gauge(description).dec(),
      frameEncoded: ({ key, data }: EncodedPacket) => {
        this.#headFrames.labels({ vm, key: String(key) }).inc();
        this.#headBytes.labels({ vm }).inc(data.length);
      },
      frameFailed: () => this.#headsFailed.labels({ vm }).inc(),
    };
  }

  #counter<Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> {
    return new Counter({ name: `vsockenc_${name}`, help, labelNames, ...this.#registers });
  }

  #gauge<Label extends string>(name: string, help: string, labelNames: Label[]): Gauge<Label> {
    return new Gauge({ name: `vsockenc_${name}`, help, labelNames, ...this.#registers });
  }
}
