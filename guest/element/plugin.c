#include "gstvirtgpusrc.h"
#include "gstvsockenc.h"
#include "virtgpusrc-properties.h"
#include "vsockenc-properties.h"

static gboolean plugin_init(GstPlugin *plugin) {
  /* Rank NONE: whether there is a host, or a screen, is not known before an element is opened. */
  return gst_element_register(plugin, VSOCKENC_FACTORY, GST_RANK_NONE, GST_TYPE_VSOCK_ENC) &&
         gst_element_register(plugin, VIRTGPUSRC_FACTORY, GST_RANK_NONE, GST_TYPE_VIRTGPU_SRC);
}

#define PACKAGE "vsockenc"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, vsockenc, VSOCKENC_LONG_NAME, plugin_init,
                  PACKAGE_VERSION, "MIT/X11", PACKAGE, PACKAGE)
