/** Bytes of version 2, as its own encoder made them: header without a check, CRC over header and body. */
export const OLDER_VERSION = 2;
export const OLDER_EPOCH = 0xc0ffee01;
/** Greeting{host_boot_id 0x01020304} */
export const OLDER_GREETING = "56454e4302010000000000000000000005000000050d4dd60d04030201";
/** Hello of OLDER_EPOCH for versions 1 to 3, with the software "vsockenc 1" */
export const OLDER_HELLO =
  "56454e430202000001eeffc00000000019000000d9a29cbe080110031d05000000208080102a0a76736f636b656e632031";
/** Error{NO_SUCH_RESOURCE, "resource 9 does not exist", fatal, BUFFER, 63}, sequence 8 of OLDER_EPOCH */
export const OLDER_ERROR =
  "56454e430208000001eeffc0080000002300000043fac7ad080412197265736f75726365203920646f6573206e6f7420657869737418012002283f";
