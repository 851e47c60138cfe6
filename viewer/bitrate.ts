/** Within what the bit rate may be set, in kbit/s. */
export interface BitrateRange {
  readonly minKbps: number;
  readonly maxKbps: number;
}
