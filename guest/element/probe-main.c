/*
 * vsockenc-probe: checks that the host reads the pixels that this guest draws, and prints a report
 * as JSON. Exit status: 0 if the pixels agree, 1 if not, 2 for a wrong option.
 */
#include <gst/gst.h>
#include <stdio.h>

#include "probe.h"

int main(int argc, char **argv) {
  VencProbeOptions options = {.gpu_ops = &venc_gpu_kernel, .draw = venc_gl_draw};
  VencAddress *address = &options.address;
  gint tcp_port = 15937, cid = -1, port = 5000, timeout = 5000;
  const GOptionEntry entries[] = {
      {"inline", 0, 0, G_OPTION_ARG_NONE, &options.is_inline, "over the link, without a GPU", NULL},
      {"device", 0, 0, G_OPTION_ARG_STRING, &address->device, "port (first free)", "PATH"},
      {"socket-path", 0, 0, G_OPTION_ARG_STRING, &address->socket_path, "UNIX socket", "PATH"},
      {"tcp-host", 0, 0, G_OPTION_ARG_STRING, &address->tcp_host, "TCP host", "NAME"},
      {"tcp-port", 0, 0, G_OPTION_ARG_INT, &tcp_port, "TCP port (15937)", "N"},
      {"cid", 0, 0, G_OPTION_ARG_INT, &cid, "vsock context", "N"},
      {"port", 0, 0, G_OPTION_ARG_INT, &port, "vsock port (5000)", "N"},
      {"timeout", 0, 0, G_OPTION_ARG_INT, &timeout, "of each step, in ms (5000)", "MS"},
      G_OPTION_ENTRY_NULL};
  g_autoptr(GOptionContext) context =
      g_option_context_new("- check that the host reads the pixels of this guest");
  g_autoptr(GError) error = NULL;
  VencProbeReport report;

  g_option_context_add_main_entries(context, entries, NULL);
  if (!g_option_context_parse(context, &argc, &argv, &error) || timeout < 1 || tcp_port < 1 ||
      tcp_port > G_MAXUINT16) {
    fprintf(stderr, "vsockenc-probe: %s\n", error ? error->message : "a number is out of range");
    return 2;
  }
  gst_init(NULL, NULL);
  address->tcp_port = (guint)tcp_port;
  address->vsock = cid >= 0;
  address->cid = (guint)cid;
  address->port = (guint)port;
  options.timeout_ms = (guint)timeout;
  venc_probe_run(&options, &report);
  g_autofree gchar *json = venc_probe_report_to_json(&report);
  puts(json);
  int status = report.ok ? 0 : 1;
  venc_probe_report_clear(&report);
  venc_address_clear(address);
  return status;
}
