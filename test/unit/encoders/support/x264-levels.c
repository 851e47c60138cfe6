/* Table A-1 of Rec. ITU-T H.264 as libx264 has it, one level a line:
 * level_idc MaxMBPS MaxFS MaxBR MaxCPB */
#include <stdint.h>
#include <stdio.h>
#include <x264.h>

int main(void) {
  for (const x264_level_t *level = x264_levels; level->level_idc != 0; level++) {
    printf("%d %d %d %d %d\n", level->level_idc, level->mbps, level->frame_size, level->bitrate,
           level->cpb);
  }
  return 0;
}
