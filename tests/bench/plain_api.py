"""The yardstick of `accept`: the usual small FastAPI app with the same body model, which keeps nothing.

python -m tests.bench.plain_api PORT
"""

import sys
import uuid

import uvicorn
from fastapi import FastAPI

from app.api.message_body import MessageBody

app = FastAPI()


@app.post("/v1/messages", status_code=202)
async def create_message(body: MessageBody) -> dict[str, str]:
    return {"id": uuid.uuid4().hex, "subject": body.subject}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
