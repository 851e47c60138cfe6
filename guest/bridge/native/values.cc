#include "addon.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "pipeline.h"

namespace vsockenc {
namespace {

// A GValue that is unset at the end of its scope.
class Value {
 public:
  explicit Value(GType type) { g_value_init(&value_, type); }
  ~Value() { g_value_unset(&value_); }
  Value(const Value &) = delete;
  Value &operator=(const Value &) = delete;
  GValue *get() { return &value_; }

 private:
  GValue value_ = G_VALUE_INIT;
};

Napi::Value ToJavaScript(Napi::Env env, const GValue *value);

Napi::Value FromStructure(Napi::Env env, const GstStructure *structure) {
  if (structure == nullptr) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  for (gint i = 0; i < gst_structure_n_fields(structure); i++) {
    const gchar *name = gst_structure_nth_field_name(structure, static_cast<guint>(i));
    object.Set(name, ToJavaScript(env, gst_structure_get_value(structure, name)));
  }
  return object;
}

Napi::Value FromString(Napi::Env env, const gchar *text) {
  return text == nullptr ? env.Null() : Napi::Value(Napi::String::New(env, text));
}

Napi::Value TakeString(Napi::Env env, gchar *text) {
  const std::unique_ptr<gchar, FreeBy<g_free>> owner(text);
  return FromString(env, text);
}

Napi::Value ToJavaScript(Napi::Env env, const GValue *value) {
  if (GST_VALUE_HOLDS_STRUCTURE(value)) return FromStructure(env, gst_value_get_structure(value));
  if (G_VALUE_HOLDS_STRING(value)) return FromString(env, g_value_get_string(value));
  if (G_VALUE_HOLDS_BOOLEAN(value)) {
    return Napi::Boolean::New(env, g_value_get_boolean(value) != FALSE);
  }
  if (GST_VALUE_HOLDS_CAPS(value)) {
    const GstCaps *caps = gst_value_get_caps(value);
    return TakeString(env, caps == nullptr ? nullptr : gst_caps_to_string(caps));
  }
  if (!G_VALUE_HOLDS_ENUM(value) &&
      g_value_type_transformable(G_VALUE_TYPE(value), G_TYPE_DOUBLE)) {
    Value number(G_TYPE_DOUBLE);
    g_value_transform(value, number.get());
    return Napi::Number::New(env, g_value_get_double(number.get()));
  }
  return TakeString(env, gst_value_serialize(value));
}

[[noreturn]] void Reject(GstElement *element, const std::string &name, const std::string &why) {
  throw PipelineError("property",
                      "the property " + name + " of " + GST_OBJECT_NAME(element) + " " + why);
}

GParamSpec *FindProperty(GstElement *element, const std::string &name, GParamFlags needed) {
  GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(element), name.c_str());
  if (spec == nullptr) Reject(element, name, "does not exist");
  if ((spec->flags & needed) == 0) {
    Reject(element, name, needed == G_PARAM_WRITABLE ? "is read-only" : "is write-only");
  }
  return spec;
}

// The bounds of a property that is a number; false for any other.
bool NumberBounds(GParamSpec *spec, double *least, double *most, bool *whole) {
  const auto bounds = [&](auto *typed, bool integer) {
    *least = static_cast<double>(typed->minimum);
    *most = static_cast<double>(typed->maximum);
    *whole = integer;
    return true;
  };
  if (G_IS_PARAM_SPEC_INT(spec)) return bounds(G_PARAM_SPEC_INT(spec), true);
  if (G_IS_PARAM_SPEC_UINT(spec)) return bounds(G_PARAM_SPEC_UINT(spec), true);
  if (G_IS_PARAM_SPEC_INT64(spec)) return bounds(G_PARAM_SPEC_INT64(spec), true);
  if (G_IS_PARAM_SPEC_UINT64(spec)) return bounds(G_PARAM_SPEC_UINT64(spec), true);
  if (G_IS_PARAM_SPEC_FLOAT(spec)) return bounds(G_PARAM_SPEC_FLOAT(spec), false);
  if (G_IS_PARAM_SPEC_DOUBLE(spec)) return bounds(G_PARAM_SPEC_DOUBLE(spec), false);
  return false;
}

// The largest integer up to which doubles are exact.
constexpr double kMaxExact = 9007199254740991.0;

std::string Text(double number) {
  std::ostringstream text;
  text << std::setprecision(16) << number;
  return text.str();
}

void FromNumber(GstElement *element, GParamSpec *spec, double number, GValue *result) {
  double least = 0;
  double most = 0;
  bool whole = false;
  if (!NumberBounds(spec, &least, &most, &whole)) Reject(element, spec->name, "is not a number");
  if (whole) {
    least = std::max(least, -kMaxExact);
    most = std::min(most, kMaxExact);
  }
  if (!(number >= least && number <= most) || (whole && std::trunc(number) != number)) {
    const std::string kind = whole ? "an integer" : "a number";
    Reject(element, spec->name, "takes " + kind + " from " + Text(least) + " to " + Text(most));
  }
  Value source(G_TYPE_DOUBLE);
  g_value_set_double(source.get(), number);
  g_value_transform(source.get(), result);
}

}  // namespace

Napi::Value GetProperty(Napi::Env env, GstElement *element, const std::string &name) {
  GParamSpec *spec = FindProperty(element, name, G_PARAM_READABLE);
  Value value(G_PARAM_SPEC_VALUE_TYPE(spec));
  g_object_get_property(G_OBJECT(element), spec->name, value.get());
  return ToJavaScript(env, value.get());
}

void SetProperty(GstElement *element, const std::string &name, const Napi::Value &value) {
  GParamSpec *spec = FindProperty(element, name, G_PARAM_WRITABLE);
  Value result(G_PARAM_SPEC_VALUE_TYPE(spec));
  if (value.IsBoolean()) {
    if (!G_VALUE_HOLDS_BOOLEAN(result.get())) Reject(element, name, "is not a boolean");
    g_value_set_boolean(result.get(), value.As<Napi::Boolean>().Value() ? TRUE : FALSE);
  } else if (value.IsNumber()) {
    FromNumber(element, spec, value.As<Napi::Number>().DoubleValue(), result.get());
  } else {
    const std::string text = value.As<Napi::String>().Utf8Value();
    if (G_VALUE_HOLDS_STRING(result.get()))
      g_value_set_string(result.get(), text.c_str());
    else if (!gst_value_deserialize_with_pspec(result.get(), text.c_str(), spec))
      Reject(element, name, "does not take \"" + text + "\"");
  }
  g_object_set_property(G_OBJECT(element), spec->name, result.get());
}

}  // namespace vsockenc
