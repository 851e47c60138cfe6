# What libvsockenc-virgl is made of; test/virgl builds it into a program.
set(VSOCKENC_VIRGL_INCLUDES ${CMAKE_CURRENT_LIST_DIR} ${CMAKE_CURRENT_LIST_DIR}/../../../proto/gen/c)
file(GLOB VSOCKENC_VIRGL_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c
  ${CMAKE_CURRENT_LIST_DIR}/../../../proto/gen/c/export.pb.c
  ${CMAKE_CURRENT_LIST_DIR}/../../../proto/gen/c/buffer.pb.c)
