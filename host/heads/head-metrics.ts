/** Metrics of the heads that the relay encodes, for Prometheus; `vm` is the configured name. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { EncodedPacket, EncoderDescription } from "../encoders/encoder.ts";

/** The metrics of one VM's heads. */
export type HeadMetrics = ReturnType<HeadsMetrics["forVm"]>;

export class HeadsMetrics {
  readonly #encoders: Gauge<"vm" | "encoder" | "hardware">;
  readonly #frames: Counter<"vm" | "key">;
  readonly #bytes: Counter<"vm">;
  readonly #failed: Counter<"vm">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#encoders = new Gauge({
      name: "vsockenc_heads",
      help: "Watched heads of the VM, with an open encoder.",
      labelNames: ["vm", "encoder", "hardware"],
      registers,
    });
    this.#frames = new Counter({
      name: "vsockenc_head_frames_encoded_total",
      help: "Encoded pictures of heads.",
      labelNames: ["vm", "key"],
      registers,
    });
    this.#bytes = new Counter({
      name: "vsockenc_head_encoded_bytes_total",
      help: "Bytes of heads' access units.",
      labelNames: ["vm"],
      registers,
    });
    this.#failed = new Counter({
      name: "vsockenc_head_frames_failed_total",
      help: "Pictures of heads that could not be read or encoded.",
      labelNames: ["vm"],
      registers,
    });
  }

  forVm(vm: string) {
    const gauge = ({ encoder, hardware }: EncoderDescription) =>
      this.#encoders.labels({ vm, encoder, hardware: String(hardware) });
    return {
      encoderOpened: (description: EncoderDescription) => gauge(description).inc(),
      encoderClosed: (description: EncoderDescription) => gauge(description).dec(),
      frameEncoded: ({ key, data }: EncodedPacket) => {
        this.#frames.labels({ vm, key: String(key) }).inc();
        this.#bytes.labels({ vm }).inc(data.length);
      },
      frameFailed: () => this.#failed.labels({ vm }).inc(),
    };
  }
}
