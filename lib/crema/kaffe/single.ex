defmodule Crema.Kaffe.Single do
  @moduledoc false
  # A handler of single messages, acknowledged by its return or later: see `Crema.Kaffe.Consumer`.

  @behaviour :crema_consumer

  alias Crema.Kaffe.{Handler, Message}

  @impl true
  def init(%{consumer: consumer}, args), do: {:ok, Map.put(args, :consumer, consumer)}

  @impl true
  def handle_message(message, %{async: false, module: module} = state) do
    case module.handle_message(Message.single(message, state.null)) do
      :ok -> {:ack, state}
      other -> Handler.failed(other, {module, :handle_message, 1}, ":ok", state)
    end
  end

  def handle_message(message, %{async: true, module: module} = state) do
    given = message |> Message.single(state.null) |> Map.put(:token, message.token)

    case module.handle_message(state.consumer, given) do
      :ok -> {:noack, state}
      other -> Handler.failed(other, {module, :handle_message, 2}, ":ok", state)
    end
  end
end
