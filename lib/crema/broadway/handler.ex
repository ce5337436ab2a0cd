defmodule Crema.Broadway.Handler do
  @moduledoc false
  # Hands what a partition's process is given over to the pipeline, and lets go of the partition when
  # the pipeline is done with it.

  @behaviour Crema.Consumer

  # Each time it begins anew, what came before comes again.
  @impl true
  def init(info, {stage, wait, closing}) do
    ref = make_ref()
    tell(stage, {:begins, {info.topic, info.partition, info[:worker]}, ref})
    {:ok, %{stage: stage, ref: ref, wait: wait, closing: closing}}
  end

  @impl true
  def handle_messages(messages, %{stage: stage, ref: ref} = state) do
    tell(stage, {:messages, ref, messages})
    {:noack, state}
  end

  # What is acknowledged until this returns is committed still.
  @impl true
  def handle_revoked(_info, state) do
    if :atomics.get(state.closing, 1) == 0, do: await_idle(state)
    {:ok, state}
  end

  defp await_idle(%{stage: stage, ref: ref, wait: wait}) do
    monitor = Process.monitor(stage)
    tell(stage, {:revoked, ref, {self(), monitor}})

    receive do
      {^monitor, :idle} -> :ok
      {:DOWN, ^monitor, _, _, _} -> :ok
    after
      wait -> tell(stage, {:lost, ref})
    end

    Process.demonitor(monitor, [:flush])
  end

  @impl true
  def handle_lost(_info, %{stage: stage, ref: ref} = state) do
    tell(stage, {:lost, ref})
    {:ok, state}
  end

  # An answer that came too late.
  @impl true
  def handle_info(_message, state), do: {:ok, state}

  defp tell(stage, note), do: send(stage, {__MODULE__, note})
end
