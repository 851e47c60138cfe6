/** The configuration is missing or invalid; the message names the file, the field and the accepted values. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
}

/** Exit status for wrong arguments or a wrong configuration: starting the program again cannot help. */
export const USAGE_ERROR_STATUS = 2;
