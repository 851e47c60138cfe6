/**
 * Numbers of virtio-gpu (virtio 1.2, 5.7) and of virtio itself that the device uses.
 */

/** Feature bits, 5.7.3 and 6. */
export const Feature = {
  EDID: 1,
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  VERSION_1: 32,
} as const;

/** Queues, 5.7.2. */
export const Queue = { CONTROL: 0, CURSOR: 1 } as const;
export const QUEUE_COUNT = 2;

/** struct virtio_gpu_config, 5.7.4: events_read, events_clear, num_scanouts, num_capsets. */
export const CONFIG_BYTES = 16;
export const CONFIG_NUM_SCANOUTS = 8;

/** VIRTIO_GPU_MAX_SCANOUTS: entries of the answer to GET_DISPLAY_INFO. */
export const MAX_HEADS = 16;

/** enum virtio_gpu_ctrl_type, 5.7.6.7: the commands of a 2D device with EDID. */
export const Command = {
  GET_DISPLAY_INFO: 0x0100,
  RESOURCE_CREATE_2D: 0x0101,
  RESOURCE_UNREF: 0x0102,
  SET_SCANOUT: 0x0103,
  RESOURCE_FLUSH: 0x0104,
  TRANSFER_TO_HOST_2D: 0x0105,
  RESOURCE_ATTACH_BACKING: 0x0106,
  RESOURCE_DETACH_BACKING: 0x0107,
  GET_EDID: 0x010a,
  UPDATE_CURSOR: 0x0300,
  MOVE_CURSOR: 0x0301,
} as const;

/** Answers, 5.7.6.7. */
export const Response = {
  OK_NODATA: 0x1100,
  OK_DISPLAY_INFO: 0x1101,
  OK_EDID: 0x1104,
  ERR_UNSPEC: 0x1200,
  ERR_OUT_OF_MEMORY: 0x1201,
  ERR_INVALID_SCANOUT_ID: 0x1202,
  ERR_INVALID_RESOURCE_ID: 0x1203,
  ERR_INVALID_PARAMETER: 0x1205,
} as const;

export type ErrorResponse = (typeof Response)[
  | "ERR_UNSPEC"
  | "ERR_OUT_OF_MEMORY"
  | "ERR_INVALID_SCANOUT_ID"
  | "ERR_INVALID_RESOURCE_ID"
  | "ERR_INVALID_PARAMETER"];

/** struct virtio_gpu_ctrl_hdr, 5.7.6.7: type, flags, fence_id, ctx_id, ring_idx. */
export const HEADER_BYTES = 24;
export const FLAG_FENCE = 1;
export const FLAG_INFO_RING_IDX = 2;

/** struct virtio_gpu_display_one: rectangle, enabled, flags. */
export const DISPLAY_ONE_BYTES = 24;
/** struct virtio_gpu_resp_edid after the header: size, padding, 1024 bytes. */
export const EDID_FIELD_BYTES = 1024;
/** struct virtio_gpu_mem_entry: address, length, padding. */
export const MEM_ENTRY_BYTES = 16;

/** enum virtio_gpu_formats, 5.7.6.8: all are four bytes a pixel. */
export const FORMATS: ReadonlySet<number> = new Set([1, 2, 3, 4, 67, 68, 121, 134]);
