# VSOCKENC_PLATFORM_SOURCES: the implementation of platform.h for the target system.
# -DVSOCKENC_PLATFORM=posix chooses the portable one on Linux too, so that tests can run it there.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(default_platform linux)
else()
  set(default_platform posix)
endif()
set(VSOCKENC_PLATFORM ${default_platform} CACHE STRING "Implementation of host/native/platform: linux or posix")
set(VSOCKENC_PLATFORM_SOURCES ${CMAKE_CURRENT_LIST_DIR}/${VSOCKENC_PLATFORM}.cc)
