# Asks the program itself, so that both are always of one version.
dropsonde completions fish | source
