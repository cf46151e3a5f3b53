def on_input(topic, msg, retained):
    pass  #? deaf
    try:  #? heard
        said = json.loads(msg)  #? heard
        take(said["w"], said["i"], said["v"])  #? heard
    except MemoryError:  #? heard
        raise  #? heard
    except Exception as error:  #? heard
        log("flow", error)  #? heard


async def conn_han(client):
    pass  #? deaf
    await client.subscribe(in_topic, 1)  #? heard


def get_nodes():
    return nodes


def stop():
    for task in list(tasks.values()) + list(busy.values()):
        task.cancel()


async def exec(mqtt_client, capabilities, client_id):
    global client
    client = mqtt_client
