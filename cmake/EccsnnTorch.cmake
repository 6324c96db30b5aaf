# Finds the torch that the op libraries will run under and offers it as two targets: `eccsnn_torch` (headers and
# libraries for the CPU) and `eccsnn_torch_cuda` (in addition for CUDA, where that torch has CUDA).
#
# The *target* interpreter is asked, not the build environment: under pip's build isolation torch is not, and must not
# be, among the build requirements. `-E` makes Python ignore the PYTHONPATH with which pip hides the target's
# site-packages. torch itself is not imported (that takes seconds): its folder and its version.py tell enough.
#
#   ECCSNN_TORCH_PYTHON  (variable or environment) another interpreter to ask, for front ends whose isolated build
#                        environment is a full virtual environment of its own (python -m build, uv build).
set(ECCSNN_TORCH_MINIMUM 2.11)
set(ECCSNN_TORCH_TARGET_VERSION 0x020B000000000000)  # stable ABI of 2.11: loads under 2.11 and everything newer

if(NOT ECCSNN_TORCH_PYTHON)
  if(DEFINED ENV{ECCSNN_TORCH_PYTHON})
    set(ECCSNN_TORCH_PYTHON "$ENV{ECCSNN_TORCH_PYTHON}")
  else()
    set(ECCSNN_TORCH_PYTHON "${Python_EXECUTABLE}")
  endif()
endif()

execute_process(
  COMMAND ${ECCSNN_TORCH_PYTHON} -E ${CMAKE_CURRENT_LIST_DIR}/find_torch.py
  OUTPUT_VARIABLE _torch_found ERROR_VARIABLE _torch_error RESULT_VARIABLE _torch_result
  OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT _torch_result EQUAL 0)
  message(FATAL_ERROR
    "eccsnn needs PyTorch >= ${ECCSNN_TORCH_MINIMUM} to be installed before it is built, and\n"
    "  ${ECCSNN_TORCH_PYTHON}\n"
    "has none that can be used: ${_torch_error}\n"
    "What to do, one of:\n"
    "  1. install it into that interpreter first, then repeat:  pip install 'torch>=${ECCSNN_TORCH_MINIMUM}' && pip install .\n"
    "  2. build without isolation, in the environment that has torch:  pip install --no-build-isolation .\n"
    "     (or: python -m build --no-isolation), with scikit-build-core, pybind11 and ninja installed there;\n"
    "  3. set ECCSNN_TORCH_PYTHON=/path/to/the/python/that/has/torch in the environment.")
endif()
list(GET _torch_found 0 ECCSNN_TORCH_DIR)
list(GET _torch_found 1 ECCSNN_TORCH_VERSION)
list(GET _torch_found 2 ECCSNN_TORCH_CUDA)  # "13.0", or "none"

string(REGEX MATCH "^[0-9]+\\.[0-9]+(\\.[0-9]+)?" _torch_number "${ECCSNN_TORCH_VERSION}")
if(_torch_number VERSION_LESS ECCSNN_TORCH_MINIMUM)
  message(FATAL_ERROR
    "eccsnn needs PyTorch >= ${ECCSNN_TORCH_MINIMUM}; ${ECCSNN_TORCH_PYTHON} has ${ECCSNN_TORCH_VERSION} in\n"
    "  ${ECCSNN_TORCH_DIR}\n"
    "What to do:  pip install --upgrade 'torch>=${ECCSNN_TORCH_MINIMUM}'  and repeat.")
endif()
message(STATUS "eccsnn: torch ${ECCSNN_TORCH_VERSION} (CUDA ${ECCSNN_TORCH_CUDA}) in ${ECCSNN_TORCH_DIR}")

find_library(ECCSNN_TORCH_CPU_LIBRARY torch_cpu PATHS ${ECCSNN_TORCH_DIR}/lib NO_DEFAULT_PATH NO_CACHE REQUIRED)
add_library(eccsnn_torch INTERFACE)
target_include_directories(eccsnn_torch SYSTEM INTERFACE ${ECCSNN_TORCH_DIR}/include)
target_compile_definitions(eccsnn_torch INTERFACE TORCH_TARGET_VERSION=${ECCSNN_TORCH_TARGET_VERSION})
target_link_libraries(eccsnn_torch INTERFACE ${ECCSNN_TORCH_CPU_LIBRARY})

find_library(ECCSNN_TORCH_CUDA_LIBRARY torch_cuda PATHS ${ECCSNN_TORCH_DIR}/lib NO_DEFAULT_PATH NO_CACHE)
if(ECCSNN_TORCH_CUDA_LIBRARY)
  add_library(eccsnn_torch_cuda INTERFACE)
  target_compile_definitions(eccsnn_torch_cuda INTERFACE USE_CUDA)
  target_link_libraries(eccsnn_torch_cuda INTERFACE eccsnn_torch ${ECCSNN_TORCH_CUDA_LIBRARY})
endif()
