// Properties, which sessions of every kind have.
#pragma once

#include <VideoToolbox/VTBase.h>

typedef CFTypeRef VTSessionRef;

VT_EXPORT const CFStringRef kVTPropertyTypeKey;
VT_EXPORT const CFStringRef kVTPropertyReadWriteStatusKey;
VT_EXPORT const CFStringRef kVTPropertyReadWriteStatus_ReadOnly;
VT_EXPORT const CFStringRef kVTPropertyReadWriteStatus_ReadWrite;
VT_EXPORT const CFStringRef kVTPropertyType_Boolean;
VT_EXPORT const CFStringRef kVTPropertyType_Enumeration;
VT_EXPORT const CFStringRef kVTPropertyType_Number;

// Key → dictionary with the keys above. Owned by the caller.
VT_EXPORT OSStatus VTSessionCopySupportedPropertyDictionary(VTSessionRef session,
                                                            CFDictionaryRef *supported);
// NULL as value restores the default.
VT_EXPORT OSStatus VTSessionSetProperty(VTSessionRef session, CFStringRef key, CFTypeRef value);
VT_EXPORT OSStatus VTSessionSetProperties(VTSessionRef session, CFDictionaryRef properties);
// *value, a CFTypeRef, is owned by the caller. noErr with NULL: supported, and not set.
VT_EXPORT OSStatus VTSessionCopyProperty(VTSessionRef session, CFStringRef key,
                                         CFAllocatorRef allocator, void *value);
