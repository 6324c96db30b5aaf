# Warnings and sanitizers, as two interface targets that our own targets link to (never third-party ones).
add_library(eccsnn_warnings INTERFACE)
target_compile_options(eccsnn_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>
  # GCC says that passing wide vectors changed its ABI once; they never cross a library boundary here.
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CXX_COMPILER_ID:GNU>>:-Wno-psabi>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${ECCSNN_WERROR}>>:-Werror>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${ECCSNN_WERROR}>>:-Werror=all-warnings>)

add_library(eccsnn_sanitizers INTERFACE)
if(ECCSNN_SANITIZE)
  target_compile_options(eccsnn_sanitizers INTERFACE
    -fsanitize=${ECCSNN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(eccsnn_sanitizers INTERFACE -fsanitize=${ECCSNN_SANITIZE})
endif()
