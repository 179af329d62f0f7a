from prediff.cli import main

main()
