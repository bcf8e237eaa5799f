# An application without CMake: the compiler with the flags that pkg-config gives for the moved package, then run.
include(${CMAKE_CURRENT_LIST_DIR}/run_embed.cmake)
file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
execute_process(
  COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_LIBDIR=${PREFIX}/${LIBDIR}/pkgconfig
    ${PKG_CONFIG} --cflags --libs "mhcjit = ${VERSION}"
  OUTPUT_VARIABLE package_flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(package_flags UNIX_COMMAND "${package_flags}")
execute_process(
  COMMAND ${COMPILER} -std=c++20 ${FLAGS} ${EXAMPLES}/embed.cpp ${package_flags} -o ${FOLDER}/embed
  COMMAND_ERROR_IS_FATAL ANY)
run_embed(${FOLDER}/embed)
