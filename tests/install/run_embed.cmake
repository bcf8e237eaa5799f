# run_embed(PROGRAM): runs examples/embed with an empty cache of its own below FOLDER and checks what it prints.
function(run_embed program)
  execute_process(
    COMMAND ${CMAKE_COMMAND} -E env MHCJIT_CACHE_DIR=${FOLDER}/cache LD_LIBRARY_PATH=${PREFIX}/${LIBDIR} ${program}
    OUTPUT_FILE ${FOLDER}/output.txt COMMAND_ERROR_IS_FATAL ANY)
  file(READ ${FOLDER}/output.txt output)
  message("${output}")
  if(NOT output MATCHES "^mhcjit ${VERSION} on (the CPU|GPU 0)\n")
    message(SEND_ERROR "the first line should say the version, ${VERSION}, and the device")
  endif()
  execute_process(COMMAND ${CHECK_EMBED} ${FOLDER}/output.txt COMMAND_ERROR_IS_FATAL ANY)
endfunction()
