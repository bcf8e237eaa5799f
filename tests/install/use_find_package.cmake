# An application outside of this tree finds the moved package with find_package, builds and runs.
include(${CMAKE_CURRENT_LIST_DIR}/run_embed.cmake)
file(REMOVE_RECURSE ${FOLDER})
execute_process(
  COMMAND ${CMAKE_COMMAND} -S ${EXAMPLES} -B ${FOLDER} -G ${GENERATOR} -DCMAKE_PREFIX_PATH=${PREFIX}
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_CXX_FLAGS=${FLAGS} -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${FOLDER} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
run_embed(${FOLDER}/embed)
