#include "session-private.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Messages about the session that may wait for the element; frames' outputs are bounded otherwise.
 */
#define MAX_NOTICES 16u
/* The host answers every Configure; opening a hardware encoder may take a second or two. */
#define CONFIGURE_TIMEOUT_US (15 * G_USEC_PER_SEC)

void venc_frame_free(VencFrame *frame) {
  if (!frame) return;
  if (frame->hold) frame->release(frame->hold);
  if (frame->user && frame->free_user) frame->free_user(frame->user);
  g_free(frame);
}

void venc_output_free(VencOutput *output) {
  if (!output) return;
  venc_frame_free(output->frame);
  g_free(output->bytes);
  g_free(output->text);
  g_free(output);
}

VencSession *venc_session_new(const VencAddress *address, const gchar *software) {
  VencSession *session = g_new0(VencSession, 1);
  g_mutex_init(&session->lock);
  g_cond_init(&session->changed);
  session->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  session->cancel = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  venc_address_copy(&session->address, address);
  session->software = g_strndup(software, VSOCKENC_MAX_NAME_BYTES);
  session->lossless = TRUE;
  session->max_in_flight = VSOCKENC_DEFAULT_IN_FLIGHT_FRAMES;
  session->link = (VencLink)VENC_LINK_INIT;
  session->out = g_byte_array_new();
  session->unwanted = g_ptr_array_new_with_free_func((GDestroyNotify)venc_frame_free);
  g_queue_init(&session->frames);
  g_queue_init(&session->outputs);
  return session;
}

void venc_session_free(VencSession *session) {
  if (!session) return;
  venc_session_lock(session);
  session->closing = TRUE;
  g_cond_broadcast(&session->changed);
  venc_session_unlock(session);
  venc_session_wake(session);
  if (session->thread) g_thread_join(session->thread);
  g_queue_clear_full(&session->frames, (GDestroyNotify)venc_frame_free);
  g_queue_clear_full(&session->outputs, (GDestroyNotify)venc_output_free);
  g_ptr_array_unref(session->unwanted);
  g_byte_array_unref(session->out);
  g_free(session->unit);
  venc_link_clear(&session->link);
  g_clear_error(&session->failure);
  g_clear_error(&session->link_error);
  g_clear_error(&session->configuration_error);
  g_clear_error(&session->probe_error);
  if (session->wake >= 0) close(session->wake);
  if (session->cancel >= 0) close(session->cancel);
  g_free(session->refusal);
  venc_address_clear(&session->address);
  g_free(session->software);
  g_mutex_clear(&session->lock);
  g_cond_clear(&session->changed);
  g_free(session);
}

void venc_session_lock(VencSession *session) {
  g_mutex_lock(&session->lock);
}

void venc_session_unlock(VencSession *session) {
  g_autoptr(GPtrArray) unwanted = NULL;
  if (session->unwanted->len > 0) {
    unwanted = session->unwanted;
    session->unwanted = g_ptr_array_new_with_free_func((GDestroyNotify)venc_frame_free);
  }
  g_mutex_unlock(&session->lock);
}

void venc_session_unhold(VencSession *session, VencFrame *frame) {
  if (!frame->hold) return;
  venc_session_release_pixels(session, frame);
  VencFrame *shell = g_new0(VencFrame, 1);
  shell->hold = g_steal_pointer(&frame->hold);
  shell->release = frame->release;
  g_ptr_array_add(session->unwanted, shell);
}

void venc_session_discard(VencSession *session, VencFrame *frame) {
  g_ptr_array_add(session->unwanted, frame);
}

void venc_session_push_output(VencSession *session, VencOutputKind kind, gint code,
                              const gchar *text) {
  guint notices = 0;
  for (GList *at = session->outputs.head; at; at = at->next)
    if (((VencOutput *)at->data)->frame == NULL) notices++;
  if (notices >= MAX_NOTICES && kind != VENC_OUTPUT_FAILED) return;
  VencOutput *output = g_new0(VencOutput, 1);
  output->kind = kind;
  output->code = code;
  output->text = g_utf8_make_valid(text ? text : "", -1);
  g_queue_push_tail(&session->outputs, output);
  g_cond_broadcast(&session->changed);
}

void venc_session_push_dropped(VencSession *session, VencFrame *frame, VencDropCause cause) {
  venc_session_unhold(session, frame);
  if (frame->discard) {
    venc_session_discard(session, frame);
    return;
  }
  session->statistics.dropped[cause]++;
  VencOutput *output = g_new0(VencOutput, 1);
  output->kind = VENC_OUTPUT_DROPPED;
  output->frame = frame;
  output->cause = cause;
  g_queue_push_tail(&session->outputs, output);
  g_cond_broadcast(&session->changed);
}

/* TRUE when something other than the awaited change ends a wait. */
static gboolean wait_is_over(VencSession *session, VencResult *result) {
  if (session->failure) {
    *result = VENC_FAILED;
  } else if (session->interrupted || session->closing) {
    *result = VENC_INTERRUPTED;
  } else {
    return FALSE;
  }
  return TRUE;
}

gboolean venc_session_open(VencSession *session, guint timeout_ms, GError **error) {
  gint64 deadline = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND;
  gboolean opened;

  session->thread = g_thread_try_new("vsockenc-io", venc_session_run, session, error);
  if (!session->thread) return FALSE;
  venc_session_lock(session);
  while (session->state != VENC_STATE_OPEN && !session->failure) {
    /* Neither of these mends itself while one waits. */
    gboolean hopeless = session->link_error && !venc_address_is_socket(&session->address) &&
                        (g_error_matches(session->link_error, VENC_ERROR, VENC_ERROR_NOT_FOUND) ||
                         g_error_matches(session->link_error, VENC_ERROR, VENC_ERROR_PERMISSION));
    if (hopeless || !g_cond_wait_until(&session->changed, &session->lock, deadline)) break;
  }
  opened = session->state == VENC_STATE_OPEN && !session->failure;
  if (!opened && session->failure) {
    g_propagate_error(error, g_error_copy(session->failure));
  } else if (!opened && session->link_error) {
    g_propagate_error(error, g_error_copy(session->link_error));
    if (venc_address_is_socket(&session->address))
      g_prefix_error(error, "no relay answered within %u ms; is `vsockenc relay` running? ",
                     timeout_ms);
  } else if (!opened && venc_address_is_socket(&session->address)) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_NO_ANSWER,
                "no relay answered at %s within %u ms; is `vsockenc relay` running?",
                session->link.name, timeout_ms);
  } else if (!opened) {
    g_set_error(error, VENC_ERROR, VENC_ERROR_NO_ANSWER,
                "%s is open, but no relay answered within %u ms. Start `vsockenc relay` on the "
                "host and see that its link names this port's socket",
                session->link.name ? session->link.name : "the port", timeout_ms);
  }
  venc_session_unlock(session);
  return opened;
}

void venc_session_set_mode(VencSession *session, gboolean lossless, gboolean fail_on_loss,
                           guint max_in_flight) {
  venc_session_lock(session);
  session->lossless = lossless;
  session->fail_on_loss = fail_on_loss;
  session->max_in_flight = CLAMP(max_in_flight, 1, VSOCKENC_MAX_IN_FLIGHT_FRAMES);
  venc_session_unlock(session);
}

void venc_session_interrupt(VencSession *session, gboolean interrupted) {
  venc_session_lock(session);
  guint64 count = 1;
  /* Neither can fail in a way that matters: the counter is 0 or not. */
  ssize_t done = interrupted ? write(session->cancel, &count, sizeof count)
                             : read(session->cancel, &count, sizeof count);
  (void)done;
  session->interrupted = interrupted;
  g_cond_broadcast(&session->changed);
  venc_session_unlock(session);
}

VencResult venc_session_configure(VencSession *session, const VencConfiguration *configuration,
                                  gboolean wait, GError **error) {
  VencResult result = VENC_OK;
  gint64 deadline = g_get_monotonic_time() + CONFIGURE_TIMEOUT_US;

  venc_session_lock(session);
  session->configuration = *configuration;
  session->has_configuration = session->configuration_changed = TRUE;
  if (wait) session->configured = (vsockenc_Configured){0};
  g_clear_error(&session->configuration_error);
  venc_session_wake(session);
  if (wait) session->configuring++;
  while (wait && (session->configuration_changed || session->configuration_pending)) {
    if (wait_is_over(session, &result)) break;
    if (session->state != VENC_STATE_OPEN) {
      if (!session->lossless) break;
      deadline = g_get_monotonic_time() + CONFIGURE_TIMEOUT_US;
    }
    if (!g_cond_wait_until(&session->changed, &session->lock, deadline)) {
      session->configuration_error =
          g_error_new(VENC_ERROR, VENC_ERROR_CONFIGURATION,
                      "the relay did not answer the configuration within %d s",
                      (int)(CONFIGURE_TIMEOUT_US / G_USEC_PER_SEC));
      break;
    }
  }
  if (wait) session->configuring--;
  if (wait && session->configuration_error) {
    result = VENC_FAILED;
    session->has_configuration = FALSE;
    g_propagate_error(error, g_steal_pointer(&session->configuration_error));
  } else if (result == VENC_FAILED) {
    g_propagate_error(error, g_error_copy(session->failure));
  }
  venc_session_unlock(session);
  return result;
}

/* Frames that the pipeline is still owed, the popped one included. */
static guint frames_out(VencSession *session) {
  guint out = session->outputs.length + (session->output_busy ? 1 : 0);
  for (GList *at = session->frames.head; at; at = at->next)
    if (!((VencFrame *)at->data)->discard) out++;
  return out;
}

/*
 * Whether the newest frame is the one for whose buffer the host is being asked: then it stays. What
 * waits behind it does not, also if it is in the same buffer.
 */
static gboolean is_asked_for(VencSession *session) {
  const GList *last = session->frames.tail;
  const VencFrame *frame = last->data;
  const VencFrame *before = last->prev ? last->prev->data : NULL;
  return session->slots[frame->slot].asked && !(before && before->state == VENC_FRAME_QUEUED);
}

VencResult venc_session_submit(VencSession *session, VencFrame *frame, VencFrame **replaced) {
  VencResult result = VENC_OK;

  *replaced = NULL;
  venc_session_lock(session);
  while (!wait_is_over(session, &result) && session->lossless &&
         frames_out(session) >= session->max_in_flight)
    g_cond_wait(&session->changed, &session->lock);
  if (result == VENC_OK && !session->lossless) {
    VencFrame *last = g_queue_peek_tail(&session->frames);
    if (session->state != VENC_STATE_OPEN) {
      session->statistics.dropped[VENC_DROPPED_DISCONNECTED]++;
      result = VENC_AWAY;
    } else if (last && last->state == VENC_FRAME_QUEUED && !is_asked_for(session)) {
      /* What was asked of the replaced frame is asked of this one. */
      frame->force_key |= last->force_key;
      session->statistics.dropped[VENC_DROPPED_NEWER]++;
      *replaced = g_queue_pop_tail(&session->frames);
    }
  }
  if (result == VENC_OK) {
    frame->state = VENC_FRAME_QUEUED;
    g_queue_push_tail(&session->frames, frame);
    /* At once, or a frame that the host has room for could still be replaced. */
    if (session->state == VENC_STATE_OPEN) venc_session_pump(session, g_get_monotonic_time());
    venc_session_wake(session);
  }
  venc_session_unlock(session);
  return result;
}

VencResult venc_session_drain(VencSession *session) {
  VencResult result = VENC_OK;
  venc_session_lock(session);
  session->draining++;
  venc_session_wake(session);
  while (frames_out(session) > 0 && !wait_is_over(session, &result))
    g_cond_wait(&session->changed, &session->lock);
  session->draining--;
  session->drain_sent = FALSE;
  venc_session_unlock(session);
  return result;
}

void venc_session_flush(VencSession *session) {
  gboolean sent = FALSE;
  venc_session_lock(session);
  for (GList *at = session->frames.head, *next; at; at = next) {
    VencFrame *frame = at->data;
    next = at->next;
    if (frame->discard) continue;
    session->statistics.dropped[VENC_DROPPED_FLUSHED]++;
    if (frame->state == VENC_FRAME_QUEUED) {
      g_queue_delete_link(&session->frames, at);
      venc_session_discard(session, frame);
      continue;
    }
    /* The host may still be reading: keep the pixels, and nothing else. */
    sent = frame->discard = TRUE;
    if (frame->state == VENC_FRAME_READ) venc_session_unhold(session, frame);
    if (frame->user) {
      VencFrame *shell = g_new0(VencFrame, 1);
      shell->user = g_steal_pointer(&frame->user);
      shell->free_user = frame->free_user;
      venc_session_discard(session, shell);
    }
  }
  for (GList *at = session->outputs.head, *next; at; at = next) {
    VencOutput *output = at->data;
    next = at->next;
    if (!output->frame) continue;
    session->statistics.dropped[VENC_DROPPED_FLUSHED]++;
    g_queue_delete_link(&session->outputs, at);
    venc_session_discard(session, g_steal_pointer(&output->frame));
    venc_output_free(output);
  }
  /* What follows cannot refer to pictures that were thrown away. */
  session->force_next_key = TRUE;
  if (sent && session->state == VENC_STATE_OPEN)
    venc_session_send_flush(session, g_get_monotonic_time());
  g_cond_broadcast(&session->changed);
  venc_session_unlock(session);
  venc_session_wake(session);
}

void venc_session_detach(VencSession *session, guint slot, guint64 attachment) {
  g_return_if_fail(slot < VSOCKENC_MAX_ATTACHED_BUFFERS);
  venc_session_lock(session);
  if (session->slots[slot].attachment == attachment) session->slots[slot].detach = TRUE;
  venc_session_unlock(session);
  venc_session_wake(session);
}

VencOutput *venc_session_pop_output(VencSession *session) {
  VencOutput *output = NULL;
  venc_session_lock(session);
  while (!session->interrupted && !session->closing &&
         !(output = g_queue_pop_head(&session->outputs)))
    g_cond_wait(&session->changed, &session->lock);
  session->output_busy = output != NULL;
  venc_session_unlock(session);
  return output;
}

void venc_session_output_done(VencSession *session) {
  venc_session_lock(session);
  session->output_busy = FALSE;
  g_cond_broadcast(&session->changed);
  venc_session_unlock(session);
  venc_session_wake(session);
}
