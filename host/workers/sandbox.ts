/**
 * What a worker may do (Linux): it reads the files of the system, Node and this package, opens the device nodes of its
 * encoders, and uses the descriptors that the relay sends it (host/native/sandbox.ts).
 */
import { type EncoderName, MAX_NVIDIA_GPUS } from "../encoders/index.ts";
import { ENCODER_SYSTEM_CALLS, type FileRules, NODE_SYSTEM_CALLS } from "../native/sandbox.ts";

/** Which render nodes there are, by libdrm. */
const VAAPI = { read: ["/sys/dev/char", "/sys/devices", "/etc/vulkan"], devices: ["/dev/dri"] };
const NVENC = {
  read: ["/sys/devices", "/proc/driver/nvidia"],
  devices: [
    ...["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"],
    ...Array.from({ length: MAX_NVIDIA_GPUS }, (_, index) => `/dev/nvidia${index}`),
  ],
};

/** System calls of Node, libx264 and libavcodec with its hardware, once they run. */
export const WORKER_SYSTEM_CALLS: readonly string[] = [...NODE_SYSTEM_CALLS, ...ENCODER_SYSTEM_CALLS];

/** The files of these encoders' hardware. */
export function workerRules(encoders: readonly EncoderName[]): FileRules {
  const hardware = [
    ...(encoders.some((name) => name.endsWith("_vaapi")) ? [VAAPI] : []),
    ...(encoders.some((name) => name.endsWith("_nvenc")) ? [NVENC] : []),
  ];
  return {
    read: hardware.flatMap(({ read }) => read),
    devices: hardware.flatMap(({ devices }) => devices),
  };
}
