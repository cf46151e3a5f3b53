# Steps of flows. Motehub writes this anew whenever they change.

in_topic = "flows/board-1/in"
out_topic = "flows/board-1/out"
nodes = ""


tasks = {}
client = None
busy = {}


def on_input(topic, msg, retained):
    pass


async def conn_han(client):
    pass


def get_nodes():
    return nodes


def stop():
    for task in list(tasks.values()) + list(busy.values()):
        task.cancel()


async def exec(mqtt_client, capabilities, client_id):
    global client
    client = mqtt_client
