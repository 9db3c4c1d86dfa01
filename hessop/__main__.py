"""``python -m hessop``: see `hessop.diagnostics.command_line`."""

from hessop.diagnostics.command_line import main

raise SystemExit(main())
