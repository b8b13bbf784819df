"""The WeChat side of kfsession: contract, ledger, API client and the Celery worker."""
