# SPDX-License-Identifier: Apache-2.0
# Builds and runs app/ against the installed package (MODE=installed) or the source tree
# (MODE=subdirectory).
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(arguments -G Ninja -S ${CMAKE_CURRENT_LIST_DIR}/app -B ${WORK_DIR}/build
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
if(MODE STREQUAL "installed")
  file(REMOVE_RECURSE ${WORK_DIR})
  run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/installed)
  file(RENAME ${WORK_DIR}/installed ${WORK_DIR}/moved)
  file(GLOB_RECURSE package_files ${WORK_DIR}/moved/lib/*.cmake)
  foreach(file IN LISTS package_files)
    file(READ ${file} text)
    foreach(place ${SOURCE_DIR} ${BUILD_DIR} ${WORK_DIR})
      string(FIND "${text}" ${place} at)
      if(NOT at EQUAL -1)
        message(FATAL_ERROR "${file} cannot be moved: it names ${place}")
      endif()
    endforeach()
  endforeach()
  run(${WORK_DIR}/moved/bin/splashmask --version)
  list(APPEND arguments -DCMAKE_PREFIX_PATH=${WORK_DIR}/moved)
else()
  # Unity builds take half the time, and a parent may ask for one.
  list(APPEND arguments -DSPLASHMASK_SOURCE=${SOURCE_DIR} -DCMAKE_UNITY_BUILD=ON
       -DCMAKE_UNITY_BUILD_BATCH_SIZE=16)
endif()
run(${CMAKE_COMMAND} ${arguments})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/consumer ${WORK_DIR}/build/plan.h5)
